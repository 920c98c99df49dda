// Command tgstate is an image and file host that speaks tgState's HTTP API.
//
//	tgstate [flags]              serve
//	tgstate healthcheck [flags]  ask the running service for its health; exit status 0 or 1
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"tgstate/internal/config"
	"tgstate/internal/metrics"
	"tgstate/internal/storage"
	"tgstate/internal/storage/local"
	"tgstate/internal/storage/telegram"
	"tgstate/internal/web"
)

func main() {
	// From here on a second signal ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run returns the exit status: 0, 1 when serving failed, 2 when a setting is wrong.
func run(ctx context.Context, args []string, getenv func(string) string, out, errOut io.Writer) int {
	action := serve
	if len(args) > 0 && args[0] == "healthcheck" {
		action, args = healthcheck, args[1:]
	}
	cfg, err := config.Load(args, getenv)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(errOut, "tgstate: %v\n", err)
		return 2
	}
	log := slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: cfg.LogLevel}))
	if err := action(ctx, cfg, log); err != nil {
		log.Error("stopped", "error", err.Error())
		return 1
	}
	return 0
}

// serve runs until ctx ends, then lets the requests in flight finish.
func serve(ctx context.Context, cfg config.Config, log *slog.Logger) error {
	registry := &metrics.Registry{}
	registry.Process(time.Now())
	store, err := openStore(cfg, registry, log)
	if err != nil {
		return err
	}
	server := web.New(cfg, store, registry, log).HTTPServer()
	listener, err := net.Listen("tcp", cfg.Addr())
	if err != nil {
		return err
	}
	log.Info("serving", "address", listener.Addr().String(), "storage", cfg.Storage, "mode", cfg.Mode, "max_size", cfg.MaxSize)
	if cfg.Pass == "" && cfg.Mode == config.ModeDrive {
		log.Warn("uploads are open to everyone who reaches this port; set pass or pass_file")
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	log.Info("finishing the requests in flight", "at_most_seconds", cfg.ShutdownTimeout.Seconds())
	deadline, cancel := context.WithTimeout(context.Background(), cfg.ShutdownTimeout)
	defer cancel()
	if err := server.Shutdown(deadline); err != nil {
		return errors.Join(fmt.Errorf("requests were cut off: %w", err), server.Close())
	}
	log.Info("stopped")
	return nil
}

// openStore returns the storage for new files, which also reads what the other kind has stored.
func openStore(cfg config.Config, registry *metrics.Registry, log *slog.Logger) (storage.Store, error) {
	disk, removed, err := local.Open(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	if removed > 0 {
		log.Info("removed uploads that a crash had left unfinished", "files", removed)
	}
	registry.Gauge("tgstate_storage_free_bytes", "Space left in the data directory.", func() (float64, error) {
		n, err := disk.FreeBytes()
		return float64(n), err
	})
	if !cfg.HasTelegram() {
		return disk, nil
	}
	retries := registry.Counter("tgstate_telegram_retries_total", "Requests to the Bot API that were repeated.", "reason")
	channel := telegram.New(telegram.Options{
		APIURL: cfg.APIURL, Token: cfg.Token.Reveal(), Target: cfg.Target, PartSize: cfg.PartSize,
		Spool: disk.Spool, OnRetry: func(reason string) { retries.Inc(reason) },
	})
	both := storage.Switched{Primary: disk, Readers: []storage.Store{disk, channel}}
	if cfg.Storage == config.StorageTelegram {
		both.Primary = channel
	}
	return both, nil
}

// healthcheck lets an image without curl check itself.
func healthcheck(ctx context.Context, cfg config.Config, _ *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, cfg.HealthURL(), nil)
	if err != nil {
		return err
	}
	// Whatever proxy the environment names, it is not for reaching ourselves.
	resp, err := (&http.Client{Transport: &http.Transport{}}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", cfg.HealthURL(), resp.Status)
	}
	return nil
}
