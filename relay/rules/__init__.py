"""Pure decisions that more than one folder needs: no input or output, no clock."""
