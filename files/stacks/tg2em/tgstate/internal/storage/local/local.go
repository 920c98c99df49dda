// Package local stores files on disk under ids made from their content.
//
// Layout of the directory:
//
//	objects/ab/abCDEF…       the bytes; the name is the id
//	objects/ab/abCDEF….json  name at upload, SHA-256, size, time; nothing depends on it
//	tmp/                     uploads in progress, each locked by the process that writes it
//
// An object appears by rename after its bytes are on disk, so a crash leaves the whole file or
// none. Several processes may share the directory: during a rollout two of them do.
package local

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"tgstate/internal/blob"
	"tgstate/internal/storage"
)

// Lengths of an id: 96 bits of the SHA-256 make a short link that nobody guesses. Should another
// content own it already, the id grows.
const (
	idLength     = 16
	idLongLength = 24
	idFullLength = 43
)

// Multipart bodies arrive in pieces of 4 KiB; they are gathered before they are written.
const writeBuffer = 256 << 10

// Store is a directory of files.
type Store struct {
	objects, tmp string
	// commit serialises "is the id free?" and the rename that takes it.
	commit  sync.Mutex
	buffers sync.Pool
	newHash func() hash.Hash
}

// Open prepares dir and removes what crashed uploads have left there. The number of files
// removed is returned.
func Open(dir string) (*Store, int, error) {
	s := &Store{
		objects: filepath.Join(dir, "objects"),
		tmp:     filepath.Join(dir, "tmp"),
		buffers: sync.Pool{New: func() any { return bufio.NewWriterSize(nil, writeBuffer) }},
		newHash: sha256.New,
	}
	for _, d := range []string{s.objects, s.tmp} {
		if err := os.MkdirAll(d, 0o750); err != nil {
			return nil, 0, fmt.Errorf("local storage: %w (the directory must belong to uid %d)", err, os.Getuid())
		}
	}
	removed, err := sweep(s.tmp)
	if err != nil {
		return nil, removed, fmt.Errorf("local storage: %w", err)
	}
	return s, removed, nil
}

// ValidID reports whether id has the form that this store makes.
func ValidID(id string) bool {
	switch len(id) {
	case idLength, idLongLength, idFullLength:
		return blob.ValidFileID(id)
	}
	return false
}

func (s *Store) path(id string) string { return filepath.Join(s.objects, id[:2], id) }

// Put stores the content of r; the same content gets the same id again.
func (s *Store) Put(_ context.Context, name string, r io.Reader) (stored storage.Stored, err error) {
	defer func() { err = asFull(err) }()
	f, err := createLocked(s.tmp)
	if err != nil {
		return storage.Stored{}, err
	}
	defer func() {
		// After a successful rename there is nothing left to remove under this name.
		_ = os.Remove(f.Name())
		_ = f.Close()
	}()
	digest := s.newHash()
	w := s.buffers.Get().(*bufio.Writer)
	defer s.buffers.Put(w)
	w.Reset(f)
	size, err := io.Copy(io.MultiWriter(w, digest), r)
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return storage.Stored{}, err
	}
	if err := f.Sync(); err != nil {
		return storage.Stored{}, err
	}
	sum := digest.Sum(nil)
	id, existed, err := s.place(f, sum, size, name)
	return storage.Stored{ID: id, Size: size, Existed: existed}, err
}

// place gives the finished temporary file its id.
func (s *Store) place(f *os.File, sum []byte, size int64, name string) (string, bool, error) {
	s.commit.Lock()
	defer s.commit.Unlock()
	full := base64.RawURLEncoding.EncodeToString(sum)
	for _, n := range []int{idLength, idLongLength, idFullLength} {
		id := full[:min(n, len(full))]
		same, err := s.holds(id, sum, size)
		if errors.Is(err, fs.ErrNotExist) {
			return id, false, s.take(f, id, meta{Name: blob.CleanName(name), SHA256: hex.EncodeToString(sum), Size: size})
		}
		if err != nil || same {
			return id, same, err
		}
	}
	return "", false, errors.New("every id of this content is taken by other content: the stored files are damaged")
}

// holds reads the object again instead of trusting its name, so that neither a collision nor
// a damaged file is ever handed out for a fresh upload.
func (s *Store) holds(id string, sum []byte, size int64) (bool, error) {
	f, err := os.Open(s.path(id))
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() != size {
		return false, err
	}
	digest := s.newHash()
	if _, err := io.Copy(digest, f); err != nil {
		return false, err
	}
	return string(digest.Sum(nil)) == string(sum), nil
}

type meta struct {
	Name    string    `json:"name"`
	SHA256  string    `json:"sha256"`
	Size    int64     `json:"size"`
	Created time.Time `json:"created"`
}

func (s *Store) take(f *os.File, id string, m meta) error {
	target := s.path(id)
	shard := filepath.Dir(target)
	if err := os.Mkdir(shard, 0o750); err == nil {
		if err := syncDir(s.objects); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	m.Created = time.Now().UTC().Truncate(time.Second)
	if err := s.writeMeta(target+".json", m); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), target); err != nil {
		return err
	}
	return syncDir(shard)
}

func (s *Store) writeMeta(target string, m meta) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	f, err := createLocked(s.tmp)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(append(text, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(f.Name(), target)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// Open opens the file with that id.
func (s *Store) Open(_ context.Context, id string) (*storage.Object, error) {
	if !ValidID(id) {
		return nil, storage.ErrNotFound
	}
	path := s.path(id)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, storage.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &storage.Object{
		Content: f,
		Size:    info.Size(),
		ModTime: info.ModTime(),
		Name:    func() string { return readName(path + ".json") },
	}, nil
}

func readName(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	var m meta
	if json.Unmarshal(text, &m) != nil {
		return ""
	}
	return blob.CleanName(m.Name)
}

// Check writes and removes a small file.
func (s *Store) Check(context.Context) error {
	f, err := createLocked(s.tmp)
	if err != nil {
		return asFull(err)
	}
	_, err = f.WriteString("ok")
	return asFull(errors.Join(err, os.Remove(f.Name()), f.Close()))
}

// FreeBytes is the space that the service's user may still fill.
func (s *Store) FreeBytes() (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(s.objects, &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil
}

// Spool returns a nameless scratch file: whatever happens, nothing of it stays.
func (s *Store) Spool() (*os.File, error) {
	f, err := createLocked(s.tmp)
	if err != nil {
		return nil, asFull(err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func asFull(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", storage.ErrFull, err)
	}
	return err
}
