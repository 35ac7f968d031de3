package app

import (
	"context"
	"maps"
	"path/filepath"
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
	add := func() map[string]bool {
		files := map[string]bool{}
		s.mu.Lock()
		list := s.files
		s.mu.Unlock()
		for _, f := range list {
			if abs, err := filepath.Abs(f); err == nil {
				files[abs] = true
				if d := filepath.Dir(abs); !watched[d] {
					if err := w.Add(d); err != nil {
						s.log.Warn("a directory of the configuration cannot be watched", "dir", d, "err", err)
					}
					watched[d] = true
				}
			}
		}
		return files
	}
	files := add()
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
			if err == nil && (files[abs] || filepath.Base(abs) == "..data") && ev.Op != fsnotify.Chmod {
				timer.Reset(settle)
			}
		case err, ok := <-w.Errors:
			if !ok {
				return
			}
			s.log.Warn("watching the configuration files", "err", err)
		case <-timer.C:
			_ = s.Reload(ctx) // logged and shown by Reload
			maps.Copy(files, add())
		}
	}
}
