package local

import (
	"bytes"
	"context"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"tgstate/internal/storage"
)

var ctx = context.Background()

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, _, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *Store, name, content string) storage.Stored {
	t.Helper()
	stored, err := s.Put(ctx, name, strings.NewReader(content))
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	return stored
}

func read(t *testing.T, s *Store, id string) (string, string) {
	t.Helper()
	obj, err := s.Open(ctx, id)
	if err != nil {
		t.Fatalf("Open(%s): %v", id, err)
	}
	defer obj.Content.Close()
	data, err := io.ReadAll(obj.Content)
	if err != nil || int64(len(data)) != obj.Size {
		t.Fatalf("read %d of %d bytes: %v", len(data), obj.Size, err)
	}
	return string(data), obj.Name()
}

// files lists everything under dir that is not a directory.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRoundTripAndDedupe(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	first := put(t, s, "dir/a.txt", "hello")
	// The first 16 characters of base64url(SHA-256("hello")): ids must never change.
	if first.ID != "LPJNul-wow4m6Dsq" || first.Size != 5 || first.Existed {
		t.Errorf("first: %+v", first)
	}
	second := put(t, s, "b.txt", "hello")
	if second.ID != first.ID || !second.Existed {
		t.Errorf("second: %+v", second)
	}
	for _, store := range []*Store{s, open(t, dir)} {
		if content, name := read(t, store, first.ID); content != "hello" || name != "a.txt" {
			t.Errorf("read %q, %q", content, name)
		}
	}
	if got := files(t, dir); len(got) != 2 {
		t.Errorf("one object and its metadata expected: %v", got)
	}
}

func TestOpenUnknown(t *testing.T) {
	s := open(t, t.TempDir())
	for _, id := range []string{"", ".", "..", "../../../etc/passwd", "AAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAA/A", "LPJNul-wow4m6Dsq.json"} {
		if _, err := s.Open(ctx, id); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("Open(%q): %v", id, err)
		}
	}
}

func TestFailedUploadLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	boom := errors.New("the client went away")
	r := io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)), iotest.ErrReader(boom))
	if _, err := s.Put(ctx, "a", r); !errors.Is(err, boom) {
		t.Errorf("Put: %v", err)
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

// collidingHash maps every content of the same length to ids that agree in the first n bytes.
type collidingHash struct {
	hash.Hash
	prefix int
}

func (c collidingHash) Sum(b []byte) []byte {
	sum := c.Hash.Sum(nil)
	copy(sum, bytes.Repeat([]byte{7}, c.prefix))
	return append(b, sum...)
}

func TestCollisionsGetLongerIDs(t *testing.T) {
	s := open(t, t.TempDir())
	real := s.newHash
	s.newHash = func() hash.Hash { return collidingHash{real(), 18} }
	ids := map[string]string{}
	for _, content := range []string{"one", "two", "six"} {
		ids[content] = put(t, s, "", content).ID
	}
	if len(ids["one"]) != idLength || len(ids["two"]) != idLongLength || len(ids["six"]) != idFullLength {
		t.Errorf("ids: %v", ids)
	}
	for content, id := range ids {
		if got, _ := read(t, s, id); got != content {
			t.Errorf("%s holds %q", id, got)
		}
		if again := put(t, s, "", content); again.ID != id || !again.Existed {
			t.Errorf("again: %+v", again)
		}
	}
}

func TestDamagedObjectIsNotHandedOutForAFreshUpload(t *testing.T) {
	s := open(t, t.TempDir())
	id := put(t, s, "", "hello").ID
	if err := os.WriteFile(s.path(id), []byte("hellO"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := put(t, s, "", "hello")
	if got, _ := read(t, s, again.ID); again.Existed || got != "hello" {
		t.Errorf("%+v holds %q", again, got)
	}
}

func TestSweepSparesUploadsOfTheLiving(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	living, err := createLocked(s.tmp)
	if err != nil {
		t.Fatal(err)
	}
	defer living.Close()
	orphan := filepath.Join(s.tmp, "up-orphan")
	if err := os.WriteFile(orphan, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, removed, err := Open(dir)
	if err != nil || removed != 1 {
		t.Errorf("removed %d: %v", removed, err)
	}
	if _, err := os.Stat(orphan); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the orphan is still there: %v", err)
	}
	if _, err := os.Stat(living.Name()); err != nil {
		t.Errorf("the living upload is gone: %v", err)
	}
}

func TestUploadsSurviveSweepsOfOthers(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	done := make(chan struct{})
	var sweeper sync.WaitGroup
	sweeper.Add(1)
	go func() {
		defer sweeper.Done()
		for {
			select {
			case <-done:
				return
			default:
				if _, err := sweep(s.tmp); err != nil {
					t.Errorf("sweep: %v", err)
					return
				}
			}
		}
	}()
	for i := range 100 {
		put(t, s, "n", strings.Repeat("x", i))
	}
	close(done)
	sweeper.Wait()
}

func TestConcurrentUploadsOfTheSame(t *testing.T) {
	s := open(t, t.TempDir())
	var wg sync.WaitGroup
	fresh := make(chan bool, 8)
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			stored, err := s.Put(ctx, "n", strings.NewReader("the same"))
			if err != nil {
				t.Errorf("Put: %v", err)
			}
			fresh <- !stored.Existed
		}()
	}
	wg.Wait()
	close(fresh)
	n := 0
	for f := range fresh {
		if f {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d uploads say that they were the first", n)
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Check(ctx); err != nil {
		t.Errorf("healthy: %v", err)
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("the check left %v", got)
	}
	if err := os.RemoveAll(s.tmp); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(ctx); err == nil {
		t.Error("a store without its directory is healthy")
	}
}

func TestSpoolLeavesNoName(t *testing.T) {
	dir := t.TempDir()
	f, err := open(t, dir).Spool()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("named: %v", got)
	}
}

func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	_, err = full.WriteString("x")
	if got := asFull(err); !errors.Is(got, storage.ErrFull) {
		t.Errorf("%v became %v", err, got)
	}
}
