package config

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
)

// setting describes one flag; its environment variable has the same name, in lower or upper case.
type setting struct {
	name, fallback, usage string
	secret                bool
}

var settings = []setting{
	{name: "token", usage: "Telegram bot token (better: token_file)", secret: true},
	{name: "target", usage: "Telegram channel, group or user that stores the files, such as @channel"},
	{name: "pass", usage: "password for uploads; empty or none: open to everyone (better: pass_file)", secret: true},
	{name: "mode", fallback: ModeDrive, usage: "p: upload and serve, m: serve only"},
	{name: "url", usage: "public base URL of the links; empty: taken from the request"},
	{name: "host", usage: "address to listen on; empty: all"},
	{name: "port", fallback: "8088", usage: "port to listen on"},
	{name: "storage", usage: "local or telegram; empty: telegram when token and target are set"},
	{name: "data_dir", fallback: "/data", usage: "directory of the local storage and of uploads in progress"},
	{name: "api_url", fallback: "https://api.telegram.org", usage: "base URL of the Bot API"},
	{name: "max_size", fallback: "100MiB", usage: "largest file accepted"},
	{name: "part_size", fallback: "19MiB", usage: "size of the parts that larger files are split into for Telegram"},
	{name: "trusted_proxies", usage: "whose X-Forwarded-For and -Proto are believed: addresses and networks, or how many proxies stand in front"},
	{name: "trusted_proxy_networks", usage: "where so many proxies ask from; empty: this machine and its gateways"},
	{name: "log_level", fallback: "info", usage: "debug, info, warn or error"},
	{name: "shutdown_timeout", fallback: "25s", usage: "how long requests in flight may take to finish"},
}

// source looks a setting up, flags first, and collects what is wrong with the values.
type source struct {
	flags  map[string]string
	getenv func(string) string
	errs   []error
}

func newSource(args []string, getenv func(string) string) (*source, error) {
	src := &source{flags: map[string]string{}, getenv: getenv}
	fs := flag.NewFlagSet("tgstate", flag.ContinueOnError)
	for _, s := range settings {
		src.define(fs, s.name, s.usage)
		if s.secret {
			src.define(fs, s.name+"_file", "file that holds "+s.name+"; an empty file means unset")
		}
	}
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	return src, nil
}

func (s *source) define(fs *flag.FlagSet, name, usage string) {
	fs.Func(name, usage, func(v string) error {
		s.flags[name] = v
		return nil
	})
}

// lookup returns the flag or the variable of that exact name, lower case before upper case.
func (s *source) lookup(name string) string {
	if v, ok := s.flags[name]; ok {
		return v
	}
	if v := s.getenv(name); v != "" {
		return strings.TrimSpace(v)
	}
	return strings.TrimSpace(s.getenv(strings.ToUpper(name)))
}

func (s *source) value(name string) string {
	if v := s.lookup(name); v != "" {
		return v
	}
	for _, st := range settings {
		if st.name == name {
			return st.fallback
		}
	}
	return ""
}

// secret prefers a flag of either kind to the environment, and the value to the file.
func (s *source) secret(name string) string {
	_, direct := s.flags[name]
	if _, fromFile := s.flags[name+"_file"]; !fromFile || direct {
		if v := s.lookup(name); v != "" || direct {
			return v
		}
	}
	path := s.lookup(name + "_file")
	if path == "" {
		return ""
	}
	content, err := os.ReadFile(path)
	if err != nil {
		s.errs = append(s.errs, fmt.Errorf("%s_file: %w", name, err))
		return ""
	}
	return string(bytes.TrimSpace(content))
}

func parse[T any](s *source, name string, convert func(string) (T, error)) T {
	v, err := convert(s.value(name))
	if err != nil {
		s.errs = append(s.errs, fmt.Errorf("%s: %w", name, err))
	}
	return v
}
