package telegram

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"tgstate/internal/blob"
)

// Telegram keeps a download path valid for at least an hour.
const pathFresh = 45 * time.Minute

// entry is what is known about one document. Its content never changes, its path expires.
type entry struct {
	size int64

	mu      sync.Mutex
	path    string
	fetched time.Time
	start   []byte

	// inspect lets one request find out whether the document is a manifest; the two fields
	// below are written before inspected is set and only read after it.
	inspect      sync.Mutex
	inspected    atomic.Bool
	manifest     *blob.Manifest
	manifestHead *entry
}

func (e *entry) head() []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.start
}

func (e *entry) setHead(head []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.start = head
}

// freshPath returns a download path, asking for a new one when it is old or known to be dead.
func (s *Store) freshPath(ctx context.Context, id string, e *entry, dead bool) (string, error) {
	e.mu.Lock()
	path, age := e.path, time.Since(e.fetched)
	e.mu.Unlock()
	if !dead && age < pathFresh {
		return path, nil
	}
	info, err := s.api.getFile(ctx, id)
	if err != nil {
		return "", err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.path, e.fetched = info.Path, time.Now()
	return info.Path, nil
}

// cache keeps the entries used last.
type cache struct {
	mu    sync.Mutex
	limit int
	order *list.List
	items map[string]*list.Element
}

type cacheItem struct {
	id string
	e  *entry
}

func newCache(limit int) *cache {
	return &cache{limit: limit, order: list.New(), items: map[string]*list.Element{}}
}

func (c *cache) get(id string) (*entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.items[id]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(el)
	return el.Value.(*cacheItem).e, true
}

// put adds e unless another request was faster, and returns the entry that is kept.
func (c *cache) put(id string, e *entry) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.items[id]; ok {
		return el.Value.(*cacheItem).e
	}
	c.items[id] = c.order.PushFront(&cacheItem{id, e})
	if c.order.Len() > c.limit {
		last := c.order.Back()
		c.order.Remove(last)
		delete(c.items, last.Value.(*cacheItem).id)
	}
	return e
}
