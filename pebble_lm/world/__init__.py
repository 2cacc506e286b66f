"""What Pebble's world holds: facts, the documents and conversations made from them, and what can be asked about them.

Plain tables, seeded generators and the standard library; lessons and checks draw from here.
"""
