"""What verifies a delivery, one file for each language, to be taken along as it is; and vectors that try them."""
