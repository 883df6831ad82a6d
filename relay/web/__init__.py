"""The page for those who run relay (contract, section 9): a face, as the command line is one."""
