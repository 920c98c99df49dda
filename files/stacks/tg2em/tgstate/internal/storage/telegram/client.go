// Package telegram stores files as documents in a Telegram chat, through the Bot API.
package telegram

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"tgstate/internal/storage"
)

const (
	attempts       = 5
	attemptTimeout = 5 * time.Minute
	maxReply       = 1 << 20
	// A flood wait longer than this is passed on to the caller instead of waited for.
	maxFloodWait = 2 * time.Minute
)

// apiError is an answer of the Bot API that is not ok.
type apiError struct {
	Code        int
	Description string
	RetryAfter  time.Duration
}

func (e *apiError) Error() string { return fmt.Sprintf("Bot API: %d %s", e.Code, e.Description) }

// client calls the Bot API. The token is part of every URL, so no error of net/http leaves this
// file without being scrubbed.
type client struct {
	base, token string
	http        *http.Client
	sleep       func(context.Context, time.Duration) error
	onRetry     func(reason string)

	mu        sync.Mutex
	notBefore time.Time
}

func newClient(base, token string) *client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = time.Minute
	transport.MaxIdleConnsPerHost = 8
	return &client{
		base:  base,
		token: token,
		http: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		sleep:   sleep,
		onRetry: func(string) {},
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// scrub removes the URL, and with it the token, from an error of net/http.
func (c *client) scrub(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	if err != nil && strings.Contains(err.Error(), c.token) {
		return errors.New("Bot API: request failed")
	}
	return err
}

// waitForFlood blocks while Telegram has told any of our requests to wait.
func (c *client) waitForFlood(ctx context.Context) error {
	c.mu.Lock()
	wait := time.Until(c.notBefore)
	c.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	if wait > maxFloodWait {
		return &storage.UnavailableError{RetryAfter: wait, Err: errors.New("Bot API: flood wait")}
	}
	return c.sleep(ctx, wait)
}

func (c *client) flood(wait time.Duration) {
	c.onRetry("flood_wait")
	c.mu.Lock()
	defer c.mu.Unlock()
	if until := time.Now().Add(wait); until.After(c.notBefore) {
		c.notBefore = until
	}
}

// retry runs do until it succeeds, fails for good, or the attempts are used up.
func (c *client) retry(ctx context.Context, do func(context.Context) error) error {
	backoff := 500 * time.Millisecond
	var err error
	for range attempts {
		if err = c.waitForFlood(ctx); err != nil {
			return err
		}
		err = c.attempt(ctx, do)
		var api *apiError
		var gaveUp *storage.UnavailableError
		switch {
		case err == nil || ctx.Err() != nil || errors.As(err, &gaveUp):
			return err
		case errors.As(err, &api) && api.Code == http.StatusTooManyRequests:
			c.flood(max(api.RetryAfter, time.Second))
			continue
		case api != nil && api.Code < 500:
			return err
		}
		c.onRetry("error")
		if e := c.sleep(ctx, backoff); e != nil {
			return e
		}
		backoff *= 2
	}
	return &storage.UnavailableError{RetryAfter: 30 * time.Second, Err: err}
}

func (c *client) attempt(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	return c.scrub(do(ctx))
}

type reply struct {
	OK          bool            `json:"ok"`
	Result      json.RawMessage `json:"result"`
	ErrorCode   int             `json:"error_code"`
	Description string          `json:"description"`
	Parameters  struct {
		RetryAfter int `json:"retry_after"`
	} `json:"parameters"`
}

// decode reads the envelope that every method answers with.
func decode(resp *http.Response, out any) error {
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return err
	}
	var r reply
	if err := json.Unmarshal(text, &r); err != nil {
		// A proxy in between may answer in HTML; its status still says whether to try again.
		return &apiError{Code: max(resp.StatusCode, http.StatusBadRequest), Description: "answer is not JSON"}
	}
	if !r.OK {
		code := r.ErrorCode
		if code == 0 {
			code = http.StatusBadGateway
		}
		return &apiError{code, r.Description, time.Duration(r.Parameters.RetryAfter) * time.Second}
	}
	return json.Unmarshal(r.Result, out)
}

// call invokes a method that takes a few parameters.
func (c *client) call(ctx context.Context, method string, params url.Values, out any) error {
	return c.retry(ctx, func(ctx context.Context) error {
		body := strings.NewReader(params.Encode())
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.methodURL(method), body)
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := c.http.Do(req)
		if err != nil {
			return err
		}
		return decode(resp, out)
	})
}

func (c *client) methodURL(method string) string {
	return c.base + "/bot" + c.token + "/" + method
}

type document struct {
	FileID string `json:"file_id"`
}

// message lists every kind that Telegram may turn a document into.
type message struct {
	Document, Video, Audio, Animation, Sticker, Voice *document
}

// sendDocument uploads content, which is read again for every attempt, and returns its file id.
func (c *client) sendDocument(ctx context.Context, chat, name string, content io.ReaderAt, size int64) (string, error) {
	head, tail, contentType, err := documentForm(chat, name)
	if err != nil {
		return "", err
	}
	var m message
	err = c.retry(ctx, func(ctx context.Context) error {
		body := io.MultiReader(bytes.NewReader(head), io.NewSectionReader(content, 0, size), bytes.NewReader(tail))
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.methodURL("sendDocument"), body)
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", contentType)
		req.ContentLength = int64(len(head)) + size + int64(len(tail))
		resp, err := c.http.Do(req)
		if err != nil {
			return err
		}
		return decode(resp, &m)
	})
	if err != nil {
		return "", err
	}
	for _, d := range []*document{m.Document, m.Video, m.Audio, m.Animation, m.Sticker, m.Voice} {
		if d != nil && d.FileID != "" {
			return d.FileID, nil
		}
	}
	return "", errors.New("Bot API: sendDocument answered without a file id")
}

// documentForm returns what stands before and after the file in the multipart body, so that the
// body can be streamed with a known length.
func documentForm(chat, name string) (head, tail []byte, contentType string, err error) {
	var buf bytes.Buffer
	form := multipart.NewWriter(&buf)
	for _, field := range [][2]string{
		{"chat_id", chat},
		{"disable_notification", "true"},
		// Otherwise a WebP picture becomes a sticker and a GIF a video.
		{"disable_content_type_detection", "true"},
	} {
		if err := form.WriteField(field[0], field[1]); err != nil {
			return nil, nil, "", err
		}
	}
	if _, err := form.CreateFormFile("document", name); err != nil {
		return nil, nil, "", err
	}
	n := buf.Len()
	if err := form.Close(); err != nil {
		return nil, nil, "", err
	}
	return buf.Bytes()[:n:n], buf.Bytes()[n:], form.FormDataContentType(), nil
}
