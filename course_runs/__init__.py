"""What lessons train and ask: lesson 04's clinic, what 07 reads, and the runs behind the tables that 05 and 09 ship."""
