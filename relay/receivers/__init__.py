"""What helps those who receive the events: schemas, made-up events, a receiver, and a sheet of checks for theirs."""
