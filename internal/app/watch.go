package app

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long a file must be left alone before it is read again: editors
// write in several steps.
const settle = 500 * time.Millisecond

// watchFiles reloads when a file of the configuration changes, until ctx ends.
// It watches directories, because editors and Kubernetes replace files.
func (s *Server) watchFiles(ctx context.Context) {
	if s.path == "" {
		return
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		s.log.Warn("changes of the configuration files are not noticed; use SIGHUP or POST /-/reload", "err", err)
		return
	}
	defer w.Close()
	watched := map[string]bool{}
	watch := func(dir string) {
		if watched[dir] || strings.ContainsAny(dir, "*?[") {
			return
		}
		watched[dir] = true
		if err := w.Add(dir); err != nil {
			s.log.Warn("a directory of the configuration cannot be watched", "dir", dir, "err", err)
		}
	}
	// concerns reports whether a path is a file of the configuration in force,
	// whoever put that in force, or a new one that a pattern names.
	concerns := func(path string) bool {
		s.mu.Lock()
		files, patterns := s.files, s.patterns
		s.mu.Unlock()
		found := filepath.Base(path) == "..data" // how Kubernetes replaces a mounted directory
		for _, f := range files {
			if abs, err := filepath.Abs(f); err == nil {
				watch(filepath.Dir(abs))
				found = found || abs == path
			}
		}
		for _, p := range patterns {
			if abs, err := filepath.Abs(p); err == nil {
				watch(filepath.Dir(abs))
				ok, err := filepath.Match(abs, path)
				found = found || err == nil && ok
			}
		}
		return found
	}
	concerns("")
	look := time.NewTicker(5 * time.Second) // at directories that a reload has added
	defer look.Stop()
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-w.Events:
			if !ok {
				return
			}
			abs, err := filepath.Abs(ev.Name)
			if err == nil && ev.Op != fsnotify.Chmod && concerns(abs) {
				timer.Reset(settle)
			}
		case <-look.C:
			concerns("")
		case err, ok := <-w.Errors:
			if !ok {
				return
			}
			s.log.Warn("watching the configuration files", "err", err)
		case <-timer.C:
			_ = s.Reload(ctx) // logged and shown by Reload
		}
	}
}
