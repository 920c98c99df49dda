"""taifish: a community board, with what takes long done by a worker."""
