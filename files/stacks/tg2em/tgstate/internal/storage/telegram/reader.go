package telegram

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"tgstate/internal/storage"
)

const (
	headSize = 512
	// A download that breaks off is taken up again where it stopped, this often in a row.
	maxResumes = 3
)

// reader reads a file part by part; only the part that is being read is open.
type reader struct {
	ctx   context.Context
	store *Store
	parts []string
	size  int64
	first *entry // remembers the beginning, which every request looks at for the file's type

	off     int64
	body    io.ReadCloser
	bodyOff int64 // offset in the file of body's next byte
	bodyEnd int64 // offset in the file where body's part ends
	resumes int
}

// Seek only notes the offset; the next Read opens the part.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.off
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	r.off = offset
	return offset, nil
}

func (r *reader) Close() error {
	if r.body == nil {
		return nil
	}
	err := r.body.Close()
	r.body = nil
	return err
}

func (r *reader) Read(p []byte) (int, error) {
	if r.off >= r.size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if r.off < headSize {
		if err := r.fillHead(); err != nil {
			return 0, err
		}
		if head := r.first.head(); r.off < int64(len(head)) {
			n := copy(p, head[r.off:])
			r.off += int64(n)
			return n, nil
		}
	}
	n, err := r.readAt(p, r.off)
	r.off += int64(n)
	return n, err
}

// fillHead fetches the first bytes unless an earlier request did.
func (r *reader) fillHead() error {
	if r.first.head() != nil || r.size == 0 {
		return nil
	}
	head := make([]byte, 0, min(headSize, r.size))
	for len(head) < cap(head) {
		n, err := r.readAt(head[len(head):cap(head)], int64(len(head)))
		if err != nil {
			return err
		}
		head = head[:len(head)+n]
	}
	r.first.setHead(head)
	return nil
}

// readAt reads at least one byte at off, going on in the open part where that is possible.
func (r *reader) readAt(p []byte, off int64) (int, error) {
	for {
		if r.body == nil || r.bodyOff != off || off >= r.bodyEnd {
			if err := r.open(off); err != nil {
				return 0, err
			}
		}
		n, err := r.body.Read(p[:min(int64(len(p)), r.bodyEnd-off)])
		r.bodyOff += int64(n)
		if n > 0 {
			r.resumes = 0
			return n, nil
		}
		if err == nil {
			continue
		}
		_ = r.Close()
		if r.resumes++; r.resumes > maxResumes || r.ctx.Err() != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, fmt.Errorf("download broke off: %w", r.store.api.scrub(err))
		}
	}
}

// open opens the part that holds off.
func (r *reader) open(off int64) error {
	_ = r.Close()
	start := int64(0)
	for _, id := range r.parts {
		e, err := r.store.part(r.ctx, id)
		if err != nil {
			return err
		}
		if off >= start+e.size {
			start += e.size
			continue
		}
		body, err := r.openPart(id, e, off-start)
		if err != nil {
			return err
		}
		r.body, r.bodyOff, r.bodyEnd = body, off, start+e.size
		return nil
	}
	return fmt.Errorf("the parts hold %d bytes, the manifest says %d", start, r.size)
}

func (r *reader) openPart(id string, e *entry, offset int64) (io.ReadCloser, error) {
	var body io.ReadCloser
	err := r.store.api.retry(r.ctx, func(context.Context) error {
		// Not the attempt's context: the body is read long after the attempt is over.
		path, err := r.store.freshPath(r.ctx, id, e, false)
		if err != nil {
			return err
		}
		body, err = r.store.api.download(r.ctx, path, offset)
		if errors.Is(err, errStale) {
			if path, err = r.store.freshPath(r.ctx, id, e, true); err != nil {
				return err
			}
			body, err = r.store.api.download(r.ctx, path, offset)
		}
		if errors.Is(err, errStale) {
			return &apiError{Code: http.StatusNotFound, Description: "the file cannot be downloaded"}
		}
		return err
	})
	var api *apiError
	if errors.As(err, &api) && api.Code == http.StatusNotFound {
		err = fmt.Errorf("%w: %w", storage.ErrNotFound, err)
	}
	return body, err
}
