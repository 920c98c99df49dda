package telegram

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"tgstate/internal/storage"
)

var ctx = context.Background()

const partSize = 10_000

// fixture is a store on a Bot API whose clock does not make tests wait.
type fixture struct {
	*Store
	bot    *botAPI
	mu     sync.Mutex
	sleeps []time.Duration
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{bot: newBotAPI(t)}
	f.Store = New(Options{
		APIURL: f.bot.url, Token: botToken, Target: "@pictures", PartSize: partSize,
		Spool: func() (*os.File, error) { return os.CreateTemp(t.TempDir(), "spool") },
	})
	f.api.sleep = func(ctx context.Context, d time.Duration) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.sleeps = append(f.sleeps, d)
		return ctx.Err()
	}
	return f
}

func (f *fixture) put(t *testing.T, name string, data []byte) string {
	t.Helper()
	stored, err := f.Put(ctx, name, bytes.NewReader(data))
	if err != nil || stored.Size != int64(len(data)) {
		t.Fatalf("Put: %+v, %v", stored, err)
	}
	return stored.ID
}

func (f *fixture) get(t *testing.T, id string) ([]byte, string) {
	t.Helper()
	obj, err := f.Open(ctx, id)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer obj.Content.Close()
	data, err := io.ReadAll(obj.Content)
	if err != nil || int64(len(data)) != obj.Size {
		t.Fatalf("read %d of %d bytes: %v", len(data), obj.Size, err)
	}
	return data, obj.Name()
}

func random(n int) []byte {
	data := make([]byte, n)
	rand.New(rand.NewSource(int64(n))).Read(data)
	return data
}

func TestRoundTrip(t *testing.T) {
	for _, c := range []struct{ size, documents int }{
		{1, 1}, {11, 1}, {12, 1}, {511, 1}, {512, 1}, {513, 1}, {partSize, 1},
		{partSize + 1, 3}, {3 * partSize, 4}, {3*partSize + 7, 5},
	} {
		f := newFixture(t)
		data := random(c.size)
		id := f.put(t, "图.bin", data)
		if got := len(f.bot.files); got != c.documents {
			t.Errorf("%d bytes: %d documents", c.size, got)
		}
		got, name := f.get(t, id)
		if !bytes.Equal(got, data) {
			t.Errorf("%d bytes came back as %d others", c.size, len(got))
		}
		if c.documents > 1 && name != "图.bin" {
			t.Errorf("%d bytes: name %q", c.size, name)
		}
		if f.bot.files[0].chat != "@pictures" {
			t.Errorf("sent to %q", f.bot.files[0].chat)
		}
	}
}

func TestManifestIsTgStates(t *testing.T) {
	f := newFixture(t)
	f.put(t, "a.zip", random(2*partSize))
	want := "tgstate-blob\na.zip\nsize20000\n" + fileID(0) + "\n" + fileID(1) + "\n"
	if got := string(f.bot.files[2].data); got != want {
		t.Errorf("manifest %q", got)
	}
}

func TestReadsManifestOfUnequalParts(t *testing.T) {
	f := newFixture(t)
	f.bot.files = []upload{
		{data: []byte("one,")}, {data: []byte("twenty-two,")}, {data: []byte("3")},
		{data: []byte("tgstate-blob\nx.txt\nsize16\n" + fileID(0) + "\n" + fileID(1) + "\n" + fileID(2))},
	}
	if got, name := f.get(t, fileID(3)); string(got) != "one,twenty-two,3" || name != "x.txt" {
		t.Errorf("got %q, %q", got, name)
	}
}

func TestUploadsThatLookLikeManifestsComeBackAsTheyWere(t *testing.T) {
	f := newFixture(t)
	secret := f.put(t, "s", []byte("somebody else's"))
	for _, text := range []string{"tgstate-blob\nx\nsize15\n" + secret + "\n", "tgstate-blob\nnot really"} {
		if got, _ := f.get(t, f.put(t, "m", []byte(text))); string(got) != text {
			t.Errorf("%q came back as %q", text, got)
		}
	}
	// A damaged manifest that somebody else has put into the channel is plain text.
	f.bot.files = append(f.bot.files, upload{data: []byte("tgstate-blob\nx\nsizeX\n")})
	if got, _ := f.get(t, fileID(len(f.bot.files)-1)); string(got) != "tgstate-blob\nx\nsizeX\n" {
		t.Errorf("damaged manifest: %q", got)
	}
}

func TestSeekReadsOnlyWhatIsAskedFor(t *testing.T) {
	for _, noRanges := range []bool{false, true} {
		f := newFixture(t)
		f.bot.noRanges = noRanges
		data := random(5 * partSize)
		obj, err := f.Open(ctx, f.put(t, "v", data))
		if err != nil {
			t.Fatal(err)
		}
		defer obj.Content.Close()
		downloads := f.bot.count("download")
		const from = 3*partSize + 123
		if _, err := obj.Content.Seek(from, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 100)
		if _, err := io.ReadFull(obj.Content, got); err != nil || !bytes.Equal(got, data[from:from+100]) {
			t.Errorf("wrong bytes, %v", err)
		}
		if n := f.bot.count("download") - downloads; n != 1 {
			t.Errorf("%d downloads for one range", n)
		}
		if last := f.bot.ranges[len(f.bot.ranges)-1]; last != "bytes=123-" {
			t.Errorf("asked for %q", last)
		}
	}
}

func TestBrokenDownloadsAreTakenUpAgain(t *testing.T) {
	f := newFixture(t)
	data := random(3*partSize + 5)
	id := f.put(t, "v", data)
	f.bot.cutAfter, f.bot.cuts = 3000, 4
	if got, _ := f.get(t, id); !bytes.Equal(got, data) {
		t.Error("other bytes came back")
	}
	if f.bot.cuts != 0 {
		t.Errorf("%d cuts were not made", f.bot.cuts)
	}
}

func TestExpiredPathIsAskedForAgain(t *testing.T) {
	f := newFixture(t)
	data := random(partSize)
	id := f.put(t, "v", data)
	f.get(t, id)
	f.bot.pathAge++ // whatever was cached is now refused
	if got, _ := f.get(t, id); !bytes.Equal(got, data) {
		t.Error("other bytes came back")
	}
}

func TestFloodWaitIsHonoured(t *testing.T) {
	f := newFixture(t)
	f.bot.flood, f.bot.floodWait = 2, 7
	data := random(100)
	if got, _ := f.get(t, f.put(t, "v", data)); !bytes.Equal(got, data) {
		t.Error("other bytes came back")
	}
	if len(f.sleeps) < 2 || f.sleeps[0] < 6*time.Second || f.sleeps[0] > 7*time.Second {
		t.Errorf("slept %v", f.sleeps)
	}
}

func TestLongFloodWaitIsPassedOn(t *testing.T) {
	f := newFixture(t)
	f.bot.flood, f.bot.floodWait = 1, 3600
	_, err := f.Put(ctx, "v", strings.NewReader("x"))
	var unavailable *storage.UnavailableError
	if !errors.As(err, &unavailable) || unavailable.RetryAfter < 59*time.Minute {
		t.Fatalf("Put: %v", err)
	}
	// The next upload is not even tried before the hour is over.
	calls := f.bot.count("sendDocument")
	if _, err := f.Put(ctx, "v", strings.NewReader("x")); !errors.As(err, &unavailable) {
		t.Errorf("second Put: %v", err)
	}
	if f.bot.count("sendDocument") != calls {
		t.Error("Telegram was asked during the flood wait")
	}
}

func TestServerErrorsAreRetriedThenGivenUp(t *testing.T) {
	f := newFixture(t)
	f.bot.fail = 2
	f.put(t, "v", random(10))
	f.bot.fail = 1000
	_, err := f.Put(ctx, "v", strings.NewReader("x"))
	var unavailable *storage.UnavailableError
	if !errors.As(err, &unavailable) {
		t.Errorf("Put: %v", err)
	}
	if got := f.bot.count("sendDocument"); got != 3+attempts {
		t.Errorf("%d attempts", got)
	}
}

func TestRefusalIsNotRetried(t *testing.T) {
	f := newFixture(t)
	f.api.token = "wrong"
	if _, err := f.Put(ctx, "v", strings.NewReader("x")); err == nil {
		t.Error("accepted")
	}
	if len(f.sleeps) != 0 {
		t.Errorf("retried after %v", f.sleeps)
	}
}

func TestUnknownIDs(t *testing.T) {
	f := newFixture(t)
	for _, id := range []string{"", "short", "../../getMe", fileID(99)} {
		if _, err := f.Open(ctx, id); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("Open(%q): %v", id, err)
		}
	}
	if got := f.bot.count("getFile"); got != 1 {
		t.Errorf("Telegram was asked %d times", got)
	}
}

func TestMetadataIsAskedForOnce(t *testing.T) {
	f := newFixture(t)
	id := f.put(t, "v", random(3*partSize))
	f.get(t, id)
	calls := f.bot.count("getFile")
	f.get(t, id)
	if got := f.bot.count("getFile"); got != calls {
		t.Errorf("%d more getFile calls", got-calls)
	}
}

func TestErrorsDoNotHoldTheToken(t *testing.T) {
	f := newFixture(t)
	f.api.base = "http://127.0.0.1:1" // nobody listens
	_, putErr := f.Put(ctx, "v", strings.NewReader("x"))
	_, openErr := f.Open(ctx, fileID(0))
	_, downloadErr := f.api.download(ctx, "documents/x", 0)
	f.api.base = "http://bad host"
	_, urlErr := f.api.download(ctx, "documents/x", 0)
	for _, err := range []error{putErr, openErr, downloadErr, urlErr, f.Check(ctx)} {
		if err == nil || strings.Contains(err.Error(), botToken) {
			t.Errorf("error: %v", err)
		}
	}
}

func TestCheck(t *testing.T) {
	f := newFixture(t)
	for range 3 {
		if err := f.Check(ctx); err != nil {
			t.Errorf("Check: %v", err)
		}
	}
	if got := f.bot.count("getMe"); got != 1 {
		t.Errorf("getMe was called %d times within a minute", got)
	}
	bad := newFixture(t)
	bad.api.token = "wrong"
	if err := bad.Check(ctx); err == nil {
		t.Error("a wrong token is healthy")
	}
}

func TestCacheForgetsTheOldest(t *testing.T) {
	c := newCache(2)
	for _, id := range []string{"a", "b"} {
		c.put(id, &entry{})
	}
	c.get("a")
	c.put("c", &entry{})
	if _, ok := c.get("b"); ok {
		t.Error("b is still there")
	}
	if _, ok := c.get("a"); !ok {
		t.Error("a was used last and is gone")
	}
}
