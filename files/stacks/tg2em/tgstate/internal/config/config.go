// Package config reads the settings of the image service from flags and environment.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Storage kinds.
const (
	StorageLocal    = "local"
	StorageTelegram = "telegram"
)

// Modes: a drive accepts uploads, a mirror only serves what is stored.
const (
	ModeDrive = "p"
	ModeServe = "m"
)

// Telegram hands out files of up to 20 MB; a part stays below that whichever megabyte is meant.
const maxPartSize = 20_000_000

// Config holds every setting, validated.
type Config struct {
	Token           Secret
	Target          string
	Pass            Secret
	Mode            string
	URL             string
	Host            string
	Port            int
	Storage         string
	DataDir         string
	APIURL          string
	MaxSize         int64
	PartSize        int64
	TrustedProxies  Proxies
	LogLevel        slog.Level
	ShutdownTimeout time.Duration
}

// HasTelegram reports whether a bot and a channel are configured, also when new files go to disk.
func (c Config) HasTelegram() bool { return c.Token != "" && c.Target != "" }

// Addr is the address to listen on.
func (c Config) Addr() string { return joinHostPort(c.Host, c.Port) }

// HealthURL is where this machine asks the service for its health.
func (c Config) HealthURL() string {
	host := c.Host
	if ip, err := netip.ParseAddr(host); host == "" || (err == nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return "http://" + joinHostPort(host, c.Port) + "/health"
}

func joinHostPort(host string, port int) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(port)
}

// Load reads args (without the program's name) and the environment. A flag wins over the
// environment, a value over its *_FILE. The error names every setting that is wrong;
// flag.ErrHelp is returned as it is.
func Load(args []string, getenv func(string) string) (Config, error) {
	src, err := newSource(args, getenv)
	if err != nil {
		return Config{}, err
	}
	c := Config{
		Token:   Secret(src.secret("token")),
		Target:  src.value("target"),
		Pass:    Secret(src.secret("pass")),
		Mode:    src.value("mode"),
		Host:    src.value("host"),
		Storage: src.value("storage"),
		DataDir: src.value("data_dir"),
	}
	if c.Pass == "none" { // what tgState's documentation says to write for "no password"
		c.Pass = ""
	}
	c.URL = parse(src, "url", parseBaseURL)
	c.APIURL = parse(src, "api_url", parseBaseURL)
	c.Port = parse(src, "port", parsePort)
	c.MaxSize = parse(src, "max_size", parseSize)
	c.PartSize = parse(src, "part_size", parseSize)
	c.TrustedProxies = parse(src, "trusted_proxies", parseProxies)
	if err := c.proxies(parse(src, "trusted_proxy_networks", parseNetworks)); err != nil {
		src.errs = append(src.errs, err)
	}
	c.LogLevel = parse(src, "log_level", parseLevel)
	c.ShutdownTimeout = parse(src, "shutdown_timeout", parseTimeout)
	src.errs = append(src.errs, c.complete()...)
	return c, errors.Join(src.errs...)
}

// complete settles what depends on several settings and returns what does not fit together.
func (c *Config) complete() []error {
	var errs []error
	if c.Mode != ModeDrive && c.Mode != ModeServe {
		errs = append(errs, fmt.Errorf("mode: %q is neither p (upload and serve) nor m (serve only)", c.Mode))
	}
	if (c.Token == "") != (c.Target == "") {
		errs = append(errs, errors.New("token, target: set both for Telegram storage, or neither for local storage"))
	}
	switch c.Storage {
	case "":
		c.Storage = StorageLocal
		if c.HasTelegram() {
			c.Storage = StorageTelegram
		}
	case StorageTelegram:
		if !c.HasTelegram() {
			errs = append(errs, errors.New("storage: telegram needs token and target"))
		}
	case StorageLocal:
	default:
		errs = append(errs, fmt.Errorf("storage: %q is neither local nor telegram", c.Storage))
	}
	if c.PartSize > maxPartSize {
		errs = append(errs, fmt.Errorf("part_size: %d is more than the %d bytes that a bot can download again", c.PartSize, maxPartSize))
	}
	if c.DataDir == "" {
		errs = append(errs, errors.New("data_dir: empty"))
	}
	return errs
}

func parseBaseURL(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" {
		return "", fmt.Errorf("%q is not of the form https://host[:port][/path]", s)
	}
	return strings.TrimRight(s, "/"), nil
}

func parsePort(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 65535 {
		return 0, fmt.Errorf("%q is not a port from 1 to 65535", s)
	}
	return n, nil
}

var units = []struct {
	suffix string
	factor int64
}{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1}, {"", 1},
}

func parseSize(s string) (int64, error) {
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err == nil && n > 0 && n <= (1<<62)/u.factor {
			return n * u.factor, nil
		}
		break
	}
	return 0, fmt.Errorf("%q is not a size such as 100MiB, 20MB or 1048576", s)
}

func parseLevel(s string) (slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s)); err != nil {
		return 0, fmt.Errorf("%q is none of debug, info, warn, error", s)
	}
	return level, nil
}

func parseTimeout(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is not a positive duration such as 25s", s)
	}
	return d, nil
}
