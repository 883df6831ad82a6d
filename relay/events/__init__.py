"""What is sent: each kind of event as one value. Pure: no input or output, no clock."""
