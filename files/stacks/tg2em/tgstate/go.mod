module tgstate

go 1.24
