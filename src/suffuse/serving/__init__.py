"""Every verb over HTTP: thin faces of a model's methods, that know no mathematics."""
