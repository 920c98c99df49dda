package config

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func env(kv map[string]string) func(string) string {
	return func(k string) string { return kv[k] }
}

func load(t *testing.T, kv map[string]string, args ...string) Config {
	t.Helper()
	c, err := Load(args, env(kv))
	if err != nil {
		t.Fatalf("Load(%v): %v", args, err)
	}
	return c
}

func secretFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o400); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaults(t *testing.T) {
	c := load(t, nil)
	if c.Port != 8088 || c.Mode != ModeDrive || c.Storage != StorageLocal || c.DataDir != "/data" {
		t.Errorf("defaults: %+v", c)
	}
	if c.MaxSize != 100<<20 || c.PartSize != 19<<20 || c.ShutdownTimeout != 25*time.Second {
		t.Errorf("limits: %+v", c)
	}
	if c.Pass != "" || c.Token != "" || c.URL != "" {
		t.Errorf("something is set by default: %#v", c)
	}
}

func TestPrecedence(t *testing.T) {
	kv := map[string]string{"port": "1001", "PORT": "1002"}
	if got := load(t, kv, "-port", "1000").Port; got != 1000 {
		t.Errorf("flag: got %d", got)
	}
	if got := load(t, kv).Port; got != 1001 {
		t.Errorf("lower case: got %d", got)
	}
	delete(kv, "port")
	if got := load(t, kv).Port; got != 1002 {
		t.Errorf("upper case: got %d", got)
	}
}

func TestSecretsFromFiles(t *testing.T) {
	path := secretFile(t, "from-file\n")
	if got := load(t, map[string]string{"PASS_FILE": path}).Pass.Reveal(); got != "from-file" {
		t.Errorf("PASS_FILE: got %q", got)
	}
	if got := load(t, map[string]string{"PASS_FILE": path, "pass": "direct"}).Pass.Reveal(); got != "direct" {
		t.Errorf("value and file: got %q", got)
	}
	if got := load(t, map[string]string{"pass": "direct"}, "-pass_file", path).Pass.Reveal(); got != "from-file" {
		t.Errorf("file flag over environment: got %q", got)
	}
	if got := load(t, map[string]string{"TOKEN_FILE": secretFile(t, " \n")}); got.HasTelegram() || got.Storage != StorageLocal {
		t.Errorf("empty token file: %+v", got)
	}
	if _, err := Load(nil, env(map[string]string{"pass_file": "/nonexistent/x"})); err == nil {
		t.Error("a missing secret file was accepted: uploads would be open to everyone")
	}
}

func TestPassNoneMeansOpen(t *testing.T) {
	if got := load(t, map[string]string{"pass": "none"}).Pass; got != "" {
		t.Errorf("pass=none: got %q", got.Reveal())
	}
}

func TestStorageFollowsToken(t *testing.T) {
	kv := map[string]string{"token": "1:a", "target": "@c"}
	if got := load(t, kv).Storage; got != StorageTelegram {
		t.Errorf("token and target: got %s", got)
	}
	if got := load(t, kv, "-storage", "local"); got.Storage != StorageLocal || !got.HasTelegram() {
		t.Errorf("storage=local keeps Telegram for reading: %+v", got)
	}
}

func TestProxiesAreNetworksOrANumber(t *testing.T) {
	if got := load(t, map[string]string{"TRUSTED_PROXIES": "1"}).TrustedProxies; got.Hops != 1 || len(got.Networks) < 2 {
		t.Errorf("1: got %+v", got)
	}
	if got := load(t, map[string]string{"TRUSTED_PROXIES": "0"}).TrustedProxies; got.Hops != 0 || got.Networks != nil {
		t.Errorf("0: got %+v", got)
	}
	if got := load(t, map[string]string{"TRUSTED_PROXIES": "10.1.0.0/16, ::1"}).TrustedProxies; got.Hops != 0 || len(got.Networks) != 2 {
		t.Errorf("networks: got %+v", got)
	}
	named := map[string]string{"TRUSTED_PROXIES": "2", "TRUSTED_PROXY_NETWORKS": "10.1.0.7"}
	if got := load(t, named).TrustedProxies; got.Hops != 2 || len(got.Networks) != 1 {
		t.Errorf("named: got %+v", got)
	}
	if got := load(t, map[string]string{"TRUSTED_PROXY_NETWORKS": "10.1.0.7"}).TrustedProxies; got.Networks != nil {
		t.Errorf("nobody in front: got %+v", got)
	}
	both := map[string]string{"TRUSTED_PROXIES": "10.0.0.1", "TRUSTED_PROXY_NETWORKS": "10.0.0.2"}
	if _, err := Load(nil, env(both)); err == nil {
		t.Error("two lists of networks were accepted")
	}
	for _, wrong := range []string{"10", "-1", "1, 10.0.0.0/8", "edge"} {
		if _, err := Load(nil, env(map[string]string{"trusted_proxies": wrong})); err == nil {
			t.Errorf("%s was accepted", wrong)
		}
	}
}

func TestErrorsNameEverySetting(t *testing.T) {
	_, err := Load(nil, env(map[string]string{
		"port": "0", "mode": "x", "url": "example.com", "max_size": "12 parsecs",
		"part_size": "21MB", "trusted_proxies": "10.0.0.0/99", "token": "1:a",
		"storage": "tape", "log_level": "loud", "shutdown_timeout": "-1s",
	}))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, name := range []string{
		"port:", "mode:", "url:", "max_size:", "part_size:", "trusted_proxies:", "token, target:",
		"storage:", "log_level:", "shutdown_timeout:",
	} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not mention %s: %v", name, err)
		}
	}
	if strings.Contains(err.Error(), "1:a") {
		t.Error("the error holds the token")
	}
}

func TestHelpAndStrayArguments(t *testing.T) {
	if _, err := Load([]string{"-h"}, env(nil)); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: %v", err)
	}
	if _, err := Load([]string{"serve"}, env(nil)); err == nil {
		t.Error("a stray argument was accepted")
	}
}

func TestHealthURL(t *testing.T) {
	for args, want := range map[string]string{
		"":           "http://127.0.0.1:8088/health",
		"0.0.0.0":    "http://127.0.0.1:8088/health",
		"::":         "http://127.0.0.1:8088/health",
		"192.0.2.10": "http://192.0.2.10:8088/health",
		"::1":        "http://[::1]:8088/health",
	} {
		if got := load(t, map[string]string{"host": args}).HealthURL(); got != want {
			t.Errorf("host %q: got %s", args, got)
		}
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	c := Config{Token: "t0ps3cret", Pass: "t0ps3cret"}
	var buf bytes.Buffer
	slog.New(slog.NewJSONHandler(&buf, nil)).Info("x", "config", c, "pass", c.Pass)
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %s %s", c, c, c, c.Pass, buf.String(), text)
	if strings.Contains(all, "t0ps3cret") {
		t.Errorf("printed: %s", all)
	}
}

func TestGatewaysAreThoseOfTheDefaultRoutes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "route")
	word := make([]byte, 4)
	binary.NativeEndian.PutUint32(word, binary.BigEndian.Uint32([]byte{172, 18, 0, 1}))
	gateway := strings.ToUpper(hex.EncodeToString(word))
	text := "Iface\tDestination\tGateway\tFlags\neth0\t00000000\t" + gateway + "\t0003\n" +
		"eth0\t000012AC\t00000000\t0001\neth1\t00000000\t00000000\t0001\ntorn\t00000000\t12\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := gateways(file); len(got) != 1 || got[0].String() != "172.18.0.1/32" {
		t.Errorf("got %v", got)
	}
	if got := gateways(file + "x"); got != nil {
		t.Errorf("without a file: %v", got)
	}
}
