"""The same, against public implementations that may be installed; nothing here is needed to use the library."""
