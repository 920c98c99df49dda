// Package storage defines what the image service expects of the places that hold its files.
package storage

import (
	"context"
	"errors"
	"io"
	"time"
)

// Errors of a Store; they are wrapped, so compare with errors.Is.
var (
	ErrNotFound = errors.New("no such file")
	ErrFull     = errors.New("the storage is full")
)

// UnavailableError says that the storage cannot serve now but may later.
type UnavailableError struct {
	RetryAfter time.Duration
	Err        error
}

func (e *UnavailableError) Error() string { return "storage unavailable: " + e.Err.Error() }

func (e *UnavailableError) Unwrap() error { return e.Err }

// Object is an opened file. Content may be an *os.File, which the HTTP server sends without
// copying it through this process.
type Object struct {
	Content io.ReadSeekCloser
	Size    int64
	ModTime time.Time
	// Remote means that every range asked for costs a request to another server.
	Remote bool
	// Name looks up the name that the file was uploaded with; "" when it is not known.
	Name func() string
}

// Stored is the outcome of a Put.
type Stored struct {
	ID   string
	Size int64
	// Existed means that the same content was there already.
	Existed bool
}

// Store keeps files. An id is stable: the same id always means the same bytes.
type Store interface {
	// Put stores all of r or nothing; an error of r is returned wrapped.
	Put(ctx context.Context, name string, r io.Reader) (Stored, error)
	// Open returns ErrNotFound for ids it does not know, well-formed or not.
	Open(ctx context.Context, id string) (*Object, error)
	// Check reports whether Put could work now; it is cheap enough for a health check.
	Check(ctx context.Context) error
}

// Switched writes to one store and reads from several, so that links survive a change of storage.
type Switched struct {
	Primary Store
	// Readers are asked in turn until one knows the id: put the cheapest first.
	Readers []Store
}

// Put stores in the primary store.
func (s Switched) Put(ctx context.Context, name string, r io.Reader) (Stored, error) {
	return s.Primary.Put(ctx, name, r)
}

// Open asks the readers.
func (s Switched) Open(ctx context.Context, id string) (*Object, error) {
	for _, reader := range s.Readers {
		obj, err := reader.Open(ctx, id)
		if !errors.Is(err, ErrNotFound) {
			return obj, err
		}
	}
	return nil, ErrNotFound
}

// Check is the primary store's: new files go there.
func (s Switched) Check(ctx context.Context) error { return s.Primary.Check(ctx) }
