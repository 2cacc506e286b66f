"""What lessons train, ask and draw: shifts of tokens, a base in a plain frame, and the runs behind tables that ship."""
