package config

import "log/slog"

// Secret is a value that no formatting verb, logger or JSON encoder prints.
type Secret string

const redacted = "[redacted]"

// Reveal returns the value itself; call it only where the value is used.
func (s Secret) Reveal() string { return string(s) }

// String hides the value from fmt.
func (s Secret) String() string { return redacted }

// GoString hides the value from %#v.
func (s Secret) GoString() string { return redacted }

// LogValue hides the value from log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the value from encoding/json.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
