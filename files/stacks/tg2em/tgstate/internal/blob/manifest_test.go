package blob

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestFormatIsTgStates(t *testing.T) {
	m := Manifest{Name: "图片 1.zip", Size: 40000000, Parts: []string{"BQACAgUAAx0E", "BQACAgUAAx0F-_"}}
	want := "tgstate-blob\n图片 1.zip\nsize40000000\nBQACAgUAAx0E\nBQACAgUAAx0F-_\n"
	if got := string(m.Encode()); got != want {
		t.Errorf("got %q", got)
	}
	for _, text := range []string{want, strings.TrimSuffix(want, "\n"), strings.ReplaceAll(want, "\n", "\r\n")} {
		got, err := Parse([]byte(text))
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("Parse(%q) = %+v, %v", text, got, err)
		}
	}
}

func TestParseRejects(t *testing.T) {
	for _, text := range []string{
		"", "t", "tgstate-blo", "tgstate-blob", "tgstate-blob\n", "tgstate-blobby\na\nsize1\nBQACAgUAAx0E",
		"tgstate-blob\nname\nsize1\n", "tgstate-blob\nname\nsize\nBQACAgUAAx0E", "tgstate-blob\nname\nsize-1\nBQACAgUAAx0E",
		"tgstate-blob\nname\n10\nBQACAgUAAx0E", "tgstate-blob\nname\nsize1\n../../getUpdates",
		"tgstate-blob\nname\nsize1\nBQACAgUAAx0E" + strings.Repeat("\n", MaxSize),
	} {
		if m, err := Parse([]byte(text)); !errors.Is(err, ErrFormat) {
			t.Errorf("Parse(%.60q) = %+v, %v", text, m, err)
		}
	}
}

func TestCleanName(t *testing.T) {
	for in, want := range map[string]string{
		"a.png":                   "a.png",
		"../../etc/passwd":        "passwd",
		`C:\Users\x\照片.jpg`:       "照片.jpg",
		"two\nlines\r.txt":        "twolines.txt",
		"evil\u202egpj.exe":       "evilgpj.exe",
		"bad\xff.txt":             "bad.txt",
		"..":                      "",
		"  spaced  ":              "spaced",
		strings.Repeat("图", 200):  strings.Repeat("图", 66),
		strings.Repeat("a", 1000): strings.Repeat("a", 200),
	} {
		if got := CleanName(in); got != want {
			t.Errorf("CleanName(%.40q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("tgstate-blob\nname\nsize12\nBQACAgUAAx0E\n"))
	f.Add([]byte("tgstate-blob"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data)
		if err != nil {
			return
		}
		again, err := Parse(m.Encode())
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%q: %+v became %+v, %v", data, m, again, err)
		}
	})
}
