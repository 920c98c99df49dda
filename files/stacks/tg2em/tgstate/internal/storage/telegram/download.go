package telegram

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"tgstate/internal/storage"
)

type fileInfo struct {
	Size int64  `json:"file_size"`
	Path string `json:"file_path"`
}

func (c *client) getFile(ctx context.Context, id string) (fileInfo, error) {
	var info fileInfo
	err := c.call(ctx, "getFile", url.Values{"file_id": {id}}, &info)
	var api *apiError
	if errors.As(err, &api) && (api.Code == http.StatusBadRequest || api.Code == http.StatusNotFound) {
		return info, fmt.Errorf("%w: %w", storage.ErrNotFound, err)
	}
	if err == nil && (info.Path == "" || strings.Contains(info.Path, "..")) {
		return info, fmt.Errorf("%w: the Bot API offers no download", storage.ErrNotFound)
	}
	return info, err
}

// errStale means that a download path is no longer valid.
var errStale = errors.New("Bot API: the download path has expired")

// download opens a file from offset on; the caller closes the body.
func (c *client) download(ctx context.Context, path string, offset int64) (io.ReadCloser, error) {
	if err := c.waitForFlood(ctx); err != nil {
		return nil, err
	}
	target := c.base + "/file/bot" + c.token + "/" + (&url.URL{Path: path}).EscapedPath()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, c.scrub(err)
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.scrub(err)
	}
	switch {
	case resp.StatusCode == http.StatusPartialContent && offset > 0:
		return resp.Body, nil
	case resp.StatusCode == http.StatusOK:
		// A server without ranges sends everything: skip to where the caller wants to be.
		if _, err := io.CopyN(io.Discard, resp.Body, offset); err != nil {
			_ = resp.Body.Close()
			return nil, c.scrub(err)
		}
		return resp.Body, nil
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusBadRequest, http.StatusGone:
		return nil, errStale
	}
	return nil, &apiError{Code: resp.StatusCode, Description: "download refused"}
}
