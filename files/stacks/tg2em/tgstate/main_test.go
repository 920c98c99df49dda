package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The tests below start this very test binary as the service: real processes, real signals.
const asService = "TGSTATE_TEST_AS_SERVICE"

func TestMain(m *testing.M) {
	if os.Getenv(asService) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestTerminationFinishesUploads(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	first, rest := bytes.Repeat([]byte("a"), 300_000), bytes.Repeat([]byte("b"), 300_000)
	upload := s.beginUpload(first)
	s.eventually("receiving", func() bool { return temporaries(t, dir) == 1 })
	s.signal(syscall.SIGTERM)
	s.eventually("closing the port", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			return true
		}
		_ = conn.Close()
		return false
	})
	path := upload.finish(t, rest)
	if err := s.waitExit(); err != nil {
		t.Errorf("exit: %v; output:\n%s", err, &s.out)
	}
	again := start(t, dir)
	resp, err := http.Get(again.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(body, append(first, rest...)) {
		t.Errorf("%s: %d, %d bytes, %v", path, resp.StatusCode, len(body), err)
	}
}

func TestTerminationIsBounded(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, "SHUTDOWN_TIMEOUT=300ms")
	upload := s.beginUpload(bytes.Repeat([]byte("a"), 300_000))
	defer upload.pipe.Close()
	s.eventually("receiving", func() bool { return temporaries(t, dir) == 1 })
	began := time.Now()
	s.signal(syscall.SIGTERM)
	if err := s.waitExit(); err == nil {
		t.Error("an upload was cut off, but the exit status is 0")
	}
	if took := time.Since(began); took < 300*time.Millisecond || took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestCrashLeavesNoHalfFile(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	upload := s.beginUpload(bytes.Repeat([]byte("a"), 1_000_000))
	defer upload.pipe.Close()
	s.eventually("receiving", func() bool { return temporaries(t, dir) == 1 })
	s.signal(syscall.SIGKILL)
	_ = s.waitExit()
	if n := temporaries(t, dir); n != 1 {
		t.Fatalf("%d temporary files: this test proves nothing", n)
	}
	start(t, dir)
	if n := temporaries(t, dir); n != 0 {
		t.Errorf("%d temporary files after the start", n)
	}
	if found, err := filepath.Glob(filepath.Join(dir, "objects", "*", "*")); err != nil || len(found) != 0 {
		t.Errorf("objects: %v, %v", found, err)
	}
}

func TestHealthcheckCommand(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	env := []string{"port=" + s.url[strings.LastIndex(s.url, ":")+1:], "HTTP_PROXY=http://127.0.0.1:1"}
	if out, err := command(env, "healthcheck").CombinedOutput(); err != nil {
		t.Errorf("healthy: %v %s", err, out)
	}
	if err := os.RemoveAll(filepath.Join(dir, "tmp")); err != nil {
		t.Fatal(err)
	}
	s.eventually("noticing that the storage is gone", func() bool {
		return command(env, "healthcheck").Run() != nil
	})
	s.signal(syscall.SIGKILL)
	_ = s.waitExit()
	if out, err := command(env, "healthcheck").CombinedOutput(); err == nil {
		t.Errorf("nobody listens: %s", out)
	}
}

func TestExitStatus(t *testing.T) {
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want int
		says string
	}{
		"help":             {[]string{"-h"}, 0, "-port"},
		"bad setting":      {[]string{"-port", "x"}, 2, "port: "},
		"no such flag":     {[]string{"-colour"}, 2, "colour"},
		"unusable storage": {[]string{"-data_dir", blocked}, 1, "must belong to uid"},
	} {
		cmd := command(nil, c.args...)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != c.want || !strings.Contains(string(out), c.says) {
			t.Errorf("%s: status %d, %s", name, got, out)
		}
	}
}

// After a change of storage the old links go on working.
func TestLinksSurviveAChangeOfStorage(t *testing.T) {
	dir := t.TempDir()
	bot := http.NewServeMux()
	bot.HandleFunc("POST /bot1:T/getMe", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"ok":true,"result":{"id":1}}`)
	})
	bot.HandleFunc("POST /bot1:T/sendDocument", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"ok":true,"result":{"document":{"file_id":"BQACAgUAAx0EcyK3ugACByxl"}}}`)
	})
	bot.HandleFunc("POST /bot1:T/getFile", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"ok":true,"result":{"file_size":6,"file_path":"documents/file_1"}}`)
	})
	bot.HandleFunc("GET /file/bot1:T/documents/file_1", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "remote")
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: bot}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Shutdown(context.Background()) })
	telegram := []string{"TOKEN=1:T", "TARGET=@c", "API_URL=http://" + listener.Addr().String()}

	upload := func(s *service, content string) string {
		u := s.beginUpload([]byte(content))
		return u.finish(t, nil)
	}
	expect := func(s *service, path, want string) {
		resp, err := http.Get(s.url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != want {
			t.Errorf("%s: %d %q, %v; output:\n%s", path, resp.StatusCode, body, err, &s.out)
		}
	}
	onDisk := upload(start(t, dir), "local")
	s := start(t, dir, telegram...)
	inChannel := upload(s, "remote")
	if inChannel != "/d/BQACAgUAAx0EcyK3ugACByxl" {
		t.Errorf("uploaded to %s; output:\n%s", inChannel, &s.out)
	}
	expect(s, onDisk, "local")
	expect(s, inChannel, "remote")
	back := start(t, dir, append(telegram, "STORAGE=local")...)
	expect(back, onDisk, "local")
	expect(back, inChannel, "remote")
	if found, err := filepath.Glob(filepath.Join(dir, "objects", "*", "BQAC*")); err != nil || len(found) != 0 {
		t.Errorf("stored on disk: %v, %v", found, err)
	}
	if strings.Contains(s.out.String()+back.out.String(), "1:T") {
		t.Errorf("the log holds the token:\n%s\n%s", &s.out, &back.out)
	}
}
