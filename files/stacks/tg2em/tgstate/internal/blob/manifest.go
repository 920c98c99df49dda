// Package blob reads and writes the manifest of a file that is stored in several parts.
//
// The format is tgState's, so that files split by it stay readable: a first line
// "tgstate-blob", the file's name, "size" followed by the number of bytes, then one file id a
// line, in order.
package blob

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Magic is the first line of a manifest.
const Magic = "tgstate-blob"

// MaxSize is the largest manifest that is read: about 10,000 parts, 190 GB of file.
const MaxSize = 1 << 20

const maxNameBytes = 200

// ErrFormat means that the bytes are no manifest.
var ErrFormat = errors.New("not a tgstate-blob manifest")

// Manifest lists the parts of a file.
type Manifest struct {
	Name  string
	Size  int64
	Parts []string
}

// IsManifest reports whether a file that begins with head claims to be a manifest. Shorter
// files are fine.
func IsManifest(head []byte) bool {
	rest, ok := bytes.CutPrefix(head, []byte(Magic))
	return ok && len(rest) > 0 && (rest[0] == '\n' || rest[0] == '\r')
}

// Encode writes the manifest.
func (m Manifest) Encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n%s\nsize%d\n", Magic, CleanName(m.Name), m.Size)
	for _, part := range m.Parts {
		b.WriteString(part)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// Parse reads a manifest; line ends may be CRLF, blank lines after the header are skipped.
func Parse(data []byte) (Manifest, error) {
	if !IsManifest(data) || len(data) > MaxSize {
		return Manifest{}, ErrFormat
	}
	lines := strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n")
	if len(lines) < 4 {
		return Manifest{}, fmt.Errorf("%w: only %d lines", ErrFormat, len(lines))
	}
	digits, ok := strings.CutPrefix(strings.TrimSpace(lines[2]), "size")
	size, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || size < 0 {
		return Manifest{}, fmt.Errorf("%w: third line is not size<N>", ErrFormat)
	}
	m := Manifest{Name: CleanName(lines[1]), Size: size}
	for _, line := range lines[3:] {
		id := strings.TrimSpace(line)
		if id == "" {
			continue
		}
		if !ValidFileID(id) {
			return Manifest{}, fmt.Errorf("%w: a part is no file id", ErrFormat)
		}
		m.Parts = append(m.Parts, id)
	}
	if len(m.Parts) == 0 {
		return Manifest{}, fmt.Errorf("%w: no parts", ErrFormat)
	}
	return m, nil
}

// ValidFileID reports whether id has the alphabet and a sane length of a Telegram file id.
func ValidFileID(id string) bool {
	if len(id) < 8 || len(id) > 256 {
		return false
	}
	for _, c := range []byte(id) {
		letter := (c|0x20) >= 'a' && (c|0x20) <= 'z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// CleanName makes a client's file name safe for one line and one path element; it may be empty.
func CleanName(name string) string {
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	name = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, name)
	name = strings.TrimSpace(name)
	for len(name) > maxNameBytes {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	if name == "." || name == ".." {
		return ""
	}
	return name
}
