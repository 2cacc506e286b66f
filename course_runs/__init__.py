"""The runs behind the tables that lessons 05 and 08 ship: what they train and ask, and the commands that do it."""
