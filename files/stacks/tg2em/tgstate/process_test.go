package main

import (
	"bytes"
	"encoding/json"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

type service struct {
	t    *testing.T
	cmd  *exec.Cmd
	url  string
	out  output
	exit chan error
}

// command runs tgstate with nothing of the tests' environment but what it is given.
func command(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(env, asService+"=1")
	return cmd
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func start(t *testing.T, dir string, env ...string) *service {
	t.Helper()
	port := freePort(t)
	s := &service{t: t, url: "http://127.0.0.1:" + port, exit: make(chan error, 1)}
	s.cmd = command(append(env, "PORT="+port, "HOST=127.0.0.1", "DATA_DIR="+dir))
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.exit <- s.cmd.Wait() }()
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	s.eventually("serving", func() bool {
		resp, err := http.Get(s.url + "/health")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return s
}

func (s *service) eventually(what string, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("%s did not happen; output:\n%s", what, &s.out)
		}
	}
}

func (s *service) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) waitExit() error {
	s.t.Helper()
	select {
	case err := <-s.exit:
		return err
	case <-time.After(20 * time.Second):
		s.t.Fatalf("still running; output:\n%s", &s.out)
		return nil
	}
}

// slowUpload is a POST whose body stays unfinished until finish is called.
type slowUpload struct {
	pipe *io.PipeWriter
	form *multipart.Writer
	part io.Writer
	done chan string // the path of the file, or an error text
}

func (s *service) beginUpload(firstBytes []byte) *slowUpload {
	s.t.Helper()
	r, w := io.Pipe()
	u := &slowUpload{pipe: w, form: multipart.NewWriter(w), done: make(chan string, 1)}
	go func() {
		resp, err := http.Post(s.url+"/api", u.form.FormDataContentType(), r)
		if err != nil {
			u.done <- "error: " + err.Error()
			return
		}
		defer resp.Body.Close()
		var reply struct{ Message string }
		if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil {
			u.done <- "error: " + err.Error()
			return
		}
		u.done <- reply.Message
	}()
	var err error
	if u.part, err = u.form.CreateFormFile("image", "slow.bin"); err != nil {
		s.t.Fatal(err)
	}
	if _, err := u.part.Write(firstBytes); err != nil {
		s.t.Fatal(err)
	}
	return u
}

func (u *slowUpload) finish(t *testing.T, rest []byte) string {
	t.Helper()
	if _, err := u.part.Write(rest); err != nil {
		t.Fatal(err)
	}
	if err := u.form.Close(); err != nil {
		t.Fatal(err)
	}
	if err := u.pipe.Close(); err != nil {
		t.Fatal(err)
	}
	return <-u.done
}

func temporaries(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "tmp"))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
