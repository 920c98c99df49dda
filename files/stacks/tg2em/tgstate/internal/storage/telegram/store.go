package telegram

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"tgstate/internal/blob"
	"tgstate/internal/storage"
)

const (
	checkFresh     = time.Minute
	checkRecheck   = 5 * time.Second
	checkTimeout   = 3 * time.Second
	cacheEntries   = 4096
	defaultDocName = "file"
)

// Options say where the files go.
type Options struct {
	APIURL, Token, Target string
	PartSize              int64
	// Spool returns a scratch file: an upload is written to it first, because Telegram may ask
	// for any part a second time and must not be kept in memory.
	Spool func() (*os.File, error)
	// OnRetry, when set, is told "flood_wait" or "error" for every attempt that is repeated.
	OnRetry func(reason string)
}

// Store keeps files as documents of a chat; an id is Telegram's file id.
type Store struct {
	opts  Options
	api   *client
	cache *cache

	mu        sync.Mutex
	checkedAt time.Time
	checkErr  error
}

// New returns a store; nothing is asked of Telegram yet.
func New(opts Options) *Store {
	s := &Store{opts: opts, api: newClient(opts.APIURL, opts.Token), cache: newCache(cacheEntries)}
	if opts.OnRetry != nil {
		s.api.onRetry = opts.OnRetry
	}
	return s
}

// Put sends the file as one document, or as parts and a manifest that names them.
func (s *Store) Put(ctx context.Context, name string, r io.Reader) (storage.Stored, error) {
	f, err := s.opts.Spool()
	if err != nil {
		return storage.Stored{}, err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 256<<10)
	size, err := io.Copy(struct{ io.Writer }{w}, r)
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return storage.Stored{}, err
	}
	head := make([]byte, min(size, int64(len(blob.Magic)+1)))
	if _, err := f.ReadAt(head, 0); err != nil {
		return storage.Stored{}, err
	}
	name = blob.CleanName(name)
	var id string
	// A file that looks like a manifest is wrapped in one, so that it comes back as it was and
	// nobody can make the service assemble parts of his choice.
	if size <= s.opts.PartSize && !blob.IsManifest(head) {
		id, err = s.api.sendDocument(ctx, s.opts.Target, docName(name), f, size)
	} else {
		id, err = s.putParts(ctx, name, f, size)
	}
	return storage.Stored{ID: id, Size: size}, err
}

func (s *Store) putParts(ctx context.Context, name string, f io.ReaderAt, size int64) (string, error) {
	m := blob.Manifest{Name: name, Size: size}
	for off := int64(0); off < size; off += s.opts.PartSize {
		n := min(s.opts.PartSize, size-off)
		partName := fmt.Sprintf("%s.part%04d", docName(name), len(m.Parts)+1)
		id, err := s.api.sendDocument(ctx, s.opts.Target, partName, io.NewSectionReader(f, off, n), n)
		if err != nil {
			return "", fmt.Errorf("part %d: %w", len(m.Parts)+1, err)
		}
		m.Parts = append(m.Parts, id)
	}
	text := string(m.Encode())
	return s.api.sendDocument(ctx, s.opts.Target, docName(name)+".tgstate", strings.NewReader(text), int64(len(text)))
}

func docName(name string) string {
	if name == "" {
		return defaultDocName
	}
	return name
}

// Open looks the id up; when the document is a manifest, the whole file is opened.
func (s *Store) Open(ctx context.Context, id string) (*storage.Object, error) {
	if !blob.ValidFileID(id) {
		return nil, storage.ErrNotFound
	}
	e, err := s.entry(ctx, id)
	if err != nil {
		return nil, err
	}
	r := &reader{ctx: ctx, store: s, parts: []string{id}, size: e.size, first: e}
	if e.manifest != nil {
		r.parts, r.size, r.first = e.manifest.Parts, e.manifest.Size, e.manifestHead
	}
	manifest := e.manifest
	return &storage.Object{
		Content: r,
		Size:    r.size,
		Remote:  true,
		Name: func() string {
			if manifest == nil {
				return ""
			}
			return manifest.Name
		},
	}, nil
}

// entry returns what is known about a document, asking Telegram where nothing is.
func (s *Store) entry(ctx context.Context, id string) (*entry, error) {
	e, err := s.part(ctx, id)
	if err != nil || e.inspected.Load() || e.size > blob.MaxSize {
		return e, err
	}
	e.inspect.Lock()
	defer e.inspect.Unlock()
	if e.inspected.Load() {
		return e, nil
	}
	r := &reader{ctx: ctx, store: s, parts: []string{id}, size: e.size, first: e}
	defer r.Close()
	if err := r.fillHead(); err != nil {
		return nil, err
	}
	if blob.IsManifest(e.head()) {
		text, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		// Text that only begins like a manifest is served as what it is.
		if m, err := blob.Parse(text); err == nil {
			e.manifest, e.manifestHead = &m, &entry{size: m.Size}
		}
	}
	e.inspected.Store(true)
	return e, nil
}

// part returns a document's size and download path.
func (s *Store) part(ctx context.Context, id string) (*entry, error) {
	if e, ok := s.cache.get(id); ok {
		return e, nil
	}
	info, err := s.api.getFile(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.cache.put(id, &entry{size: info.Size, path: info.Path, fetched: time.Now()}), nil
}

// Check asks the Bot API who the bot is, at most once a minute while it answers.
func (s *Store) Check(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	age := time.Since(s.checkedAt)
	if age < checkRecheck || (s.checkErr == nil && age < checkFresh) {
		return s.checkErr
	}
	// The answer is kept for others: one impatient client must not make it a failure.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	var me struct {
		ID int64 `json:"id"`
	}
	err := s.api.call(ctx, "getMe", url.Values{}, &me)
	if err == nil && me.ID == 0 {
		err = errors.New("Bot API: getMe names no bot")
	}
	s.checkedAt, s.checkErr = time.Now(), err
	return err
}
