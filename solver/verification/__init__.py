"""Problems with known answers, one a file."""
