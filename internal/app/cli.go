// Package app joins the stations into the program: configuration, wiring, the
// commands, and the order in which things start and stop.
package app

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vedette-sre/vedette/internal/demo"
	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/web"
)

// Exit codes of the program.
const (
	exitOK     = 0
	exitFailed = 1 // what was asked for did not work
	exitUsage  = 2 // the command line or a configuration is wrong
)

const usageText = `Vedette keeps watch over microservices.

  vedette run     [--config vedette.yml] [--data DIR] [--listen ADDR]
                  watch, keep, answer, judge, tell and show; without a config
                  it watches itself, its host and whatever is sent to it
  vedette demo    the same with a small shop of real services and faults
  vedette demo fault list | on NAME | off NAME
  vedette agent   --hub URL --location NAME --token-file FILE [--data DIR]
                  run checks from here for a Vedette elsewhere
  vedette check URL [--timeout 10s] [--json]
                  probe once and print the phases
  vedette config check FILE
                  say whether a vedette.yml and the files it names are right
  vedette import  KIND FILE [--prometheus FILE] [--output FILE] [--with-secrets]
                  make checks of the files of blackbox, cloudprober, gatus,
                  uptime-kuma or of a har; - for standard input
  vedette backup  --output FILE [--url URL] [--token TOKEN] [--tenant NAME]
                  [--ca-file FILE] [--insecure]
  vedette restore --input FILE [--data DIR] [--tenant NAME]
  vedette hash-password
                  read a password and print the hash for vedette.yml
  vedette version

Log to standard error; --log-format json and --log-level debug|info|warn|error
work with run, demo and agent. Secrets may come from VEDETTE_TOKEN.
`

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// Main runs a command line and returns the exit code.
func Main(args []string, in io.Reader, out, errw io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal ends in order; a second one ends at once.
	context.AfterFunc(ctx, stop)
	st := streams{in, out, errw}
	if len(args) == 0 {
		fmt.Fprint(errw, usageText)
		return exitUsage
	}
	commands := map[string]func(context.Context, []string, streams) error{
		"run": cmdRun, "demo": cmdDemo, "check": cmdCheck, "config": cmdConfig, "backup": cmdBackup,
		"restore": cmdRestore, "agent": cmdAgent, "hash-password": cmdHash, "version": cmdVersion,
		"import": cmdImport,
	}
	switch args[0] {
	case "help", "-h", "--help":
		fmt.Fprint(out, usageText)
		return exitOK
	}
	cmd := commands[args[0]]
	if cmd == nil {
		fmt.Fprintf(errw, "vedette: unknown command %q; vedette help lists them\n", args[0])
		return exitUsage
	}
	err := cmd(ctx, args[1:], st)
	var ce *ConfigError
	var ue *usageError
	var failed *failedError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &failed):
		return exitFailed
	case errors.As(err, &ce), errors.As(err, &ue):
		fmt.Fprintf(errw, "vedette: %v\n", err)
		return exitUsage
	}
	fmt.Fprintf(errw, "vedette: %v\n", err)
	return exitFailed
}

type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

// failedError is a failure that the command has told already.
type failedError struct{}

func (*failedError) Error() string { return "failed" }

// flags makes the flag set of a command whose errors are usage errors.
func flags(name string, st streams) *flag.FlagSet {
	fs := flag.NewFlagSet("vedette "+name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	return fs
}

func parse(fs *flag.FlagSet, args []string, st streams, positional ...string) ([]string, error) {
	var pos []string
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				fmt.Fprintf(st.out, "usage: %s %s\n", fs.Name(), strings.Join(positional, " "))
				fs.SetOutput(st.out)
				fs.PrintDefaults()
				return nil, err
			}
			return nil, &usageError{fs.Name() + ": " + err.Error()}
		}
		if fs.NArg() == 0 {
			break
		}
		// Flags may follow words, as people write them.
		pos = append(pos, fs.Arg(0))
		args = fs.Args()[1:]
	}
	if len(pos) != len(positional) {
		return nil, &usageError{fmt.Sprintf("%s: want %s, got %d words; vedette help shows the commands", fs.Name(), words(positional), len(pos))}
	}
	return pos, nil
}

func words(names []string) string {
	if len(names) == 0 {
		return "no further words"
	}
	return strings.Join(names, " ")
}

// common are the flags of run and demo.
type common struct {
	config, data, listen, logFormat, logLevel string
}

func (c *common) add(fs *flag.FlagSet) {
	fs.StringVar(&c.config, "config", "", "path of vedette.yml")
	fs.StringVar(&c.data, "data", "", "directory of everything kept (default ./data)")
	fs.StringVar(&c.listen, "listen", "", "address of the one port (default "+DefaultListen+")")
	c.addLog(fs)
}

func (c *common) addLog(fs *flag.FlagSet) {
	fs.StringVar(&c.logFormat, "log-format", "text", "text or json")
	fs.StringVar(&c.logLevel, "log-level", "info", "debug, info, warn or error")
}

func (c *common) logger(w io.Writer) (*slog.Logger, error) {
	var lv slog.Level
	if err := lv.UnmarshalText([]byte(c.logLevel)); err != nil {
		return nil, &usageError{fmt.Sprintf("--log-level %q: want debug, info, warn or error", c.logLevel)}
	}
	o := &slog.HandlerOptions{Level: lv}
	switch c.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, &usageError{fmt.Sprintf("--log-format %q: want text or json", c.logFormat)}
}

// over puts the flags over the file.
func (c *common) over(conf *Config) {
	if c.data != "" {
		conf.Data = c.data
	}
	if c.listen != "" {
		conf.Listen = c.listen
		if conf.derivedURL {
			conf.ExternalURL = ""
		}
		conf.setDefaults()
	}
}

func cmdRun(ctx context.Context, args []string, st streams) error {
	var c common
	fs := flags("run", st)
	c.add(fs)
	if _, err := parse(fs, args, st); err != nil {
		return err
	}
	return serve(ctx, c, st, nil)
}

// serve runs the server until ctx ends. ready is called once it answers.
func serve(ctx context.Context, c common, st streams, ready func(*Server)) error {
	log, err := c.logger(st.err)
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		// As Prometheus does: a smaller heap for a little more collecting.
		debug.SetGCPercent(75)
	}
	s, err := Start(ctx, c.config, c.over, log)
	if err != nil {
		return err
	}
	fmt.Fprintf(st.out, "Vedette %s is ready after %d ms: %s\n", s.version.Version, time.Since(s.started).Milliseconds(), s.URL())
	if ready != nil {
		ready(s)
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-hup:
				_ = s.Reload(ctx) // logged and shown by Reload
			case <-stop:
				return
			}
		}
	}()
	return s.Wait(ctx)
}

func cmdDemo(ctx context.Context, args []string, st streams) error {
	if len(args) > 0 && args[0] == "serve" {
		if len(args) < 2 {
			return &usageError{"vedette demo serve: want a role"}
		}
		return demo.Serve(ctx, args[1], args[2:])
	}
	if len(args) > 0 && args[0] == "fault" {
		return cmdFault(ctx, args[1:], st)
	}
	c := common{}
	fs := flags("demo", st)
	c.add(fs)
	base := fs.Int("base-port", 0, "first port of the shop (default 7580)")
	if _, err := parse(fs, args, st); err != nil {
		return err
	}
	if c.config != "" {
		return &usageError{"vedette demo writes its own config; use vedette run --config for yours"}
	}
	if c.data == "" {
		c.data = "./data/demo"
	}
	log, err := c.logger(st.err)
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the program itself: %w", err)
	}
	dir, err := filepath.Abs(c.data)
	if err != nil {
		return err
	}
	shopDir := filepath.Join(dir, "shop")
	if err := os.MkdirAll(shopDir, 0o750); err != nil {
		return err
	}
	shop, err := demo.Start(ctx, demo.Options{Exe: exe, Dir: shopDir, Log: log.With("station", "demo"), BasePort: *base})
	if err != nil {
		return fmt.Errorf("start the shop: %w", err)
	}
	defer shop.Stop()
	c.config, c.data = shop.ConfigPath(), dir
	return serve(ctx, c, st, func(s *Server) {
		shop.StartPlaces("http://" + s.Addr())
		fmt.Fprintf(st.out, "A small shop runs beside it; its notifications arrive at %s\n", shop.ReceiverURL())
		fmt.Fprintf(st.out, "Break something: vedette demo fault list\n")
	})
}

func cmdFault(ctx context.Context, args []string, st streams) error {
	fs := flags("demo fault", st)
	base := fs.Int("base-port", 0, "first port of the shop (default 7580)")
	want := []string{"list|on|off"}
	if len(args) > 0 && (args[0] == "on" || args[0] == "off") {
		want = append(want, "NAME")
	}
	pos, err := parse(fs, args, st, want...)
	if err != nil {
		return err
	}
	name := ""
	if len(pos) == 2 {
		name = pos[1]
	}
	if len(pos) == 2 && name != "all" && !slices.ContainsFunc(demo.Faults(), func(f demo.FaultInfo) bool { return f.Name == name }) {
		return &usageError{fmt.Sprintf("vedette demo fault: there is no fault %q; vedette demo fault list names them", name)}
	}
	text, err := demo.Fault(ctx, *base, pos[0], name)
	if err != nil {
		return err
	}
	fmt.Fprintln(st.out, strings.TrimRight(text, "\n"))
	return nil
}

func cmdCheck(ctx context.Context, args []string, st streams) error {
	fs := flags("check", st)
	timeout := fs.Duration("timeout", 10*time.Second, "give up after")
	js := fs.Bool("json", false, "print the result as JSON")
	insecure := fs.Bool("insecure", false, "accept any certificate")
	pos, err := parse(fs, args, st, "URL")
	if err != nil {
		return err
	}
	c := probe.Check{Name: pos[0], URL: pos[0], Timeout: *timeout, Interval: max(*timeout, 30*time.Second)}
	c.TLS.InsecureSkipVerify = *insecure
	if err := c.Validate(); err != nil {
		return &usageError{"vedette check: " + err.Error()}
	}
	res := probe.Once(ctx, c)
	if *js {
		if err := printJSON(st.out, res); err != nil {
			return err
		}
	} else {
		fmt.Fprint(st.out, probe.Text(res))
	}
	if !res.Success {
		return &failedError{}
	}
	return nil
}

func cmdConfig(_ context.Context, args []string, st streams) error {
	if len(args) == 0 || args[0] != "check" {
		return &usageError{"vedette config: want check FILE"}
	}
	fs := flags("config check", st)
	pos, err := parse(fs, args[1:], st, "FILE")
	if err != nil {
		return err
	}
	c, err := LoadConfig(pos[0])
	if err != nil {
		return err
	}
	p, err := makePlan(c, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	for _, n := range p.notServed {
		fmt.Fprintf(st.out, "not served: %s: %s\n", n.Section, n.Reason)
	}
	checks, ruleFiles := 0, 0
	for _, t := range p.tenants {
		checks += len(t.conf.Checks)
		ruleFiles += len(t.ruleFiles)
	}
	fmt.Fprintf(st.out, "%s is right: %s, %s, %s\n", pos[0], many(len(p.tenants), "tenant"), many(checks, "check"), many(ruleFiles, "rule file"))
	return nil
}

// httpsClient trusts the authority in a PEM file besides the system's.
func httpsClient(caFile string, insecure bool) (*http.Client, error) {
	cfg := &tls.Config{InsecureSkipVerify: insecure}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, &usageError{"--ca-file: " + err.Error()}
		}
		if cfg.RootCAs, err = x509.SystemCertPool(); err != nil {
			cfg.RootCAs = x509.NewCertPool()
		}
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &usageError{fmt.Sprintf("--ca-file: %s holds no PEM certificate", caFile)}
		}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, Proxy: http.ProxyFromEnvironment}}, nil
}

func many(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func cmdBackup(ctx context.Context, args []string, st streams) error {
	fs := flags("backup", st)
	base := fs.String("url", "http://"+DefaultListen, "address of the running Vedette")
	// The environment is read after parsing: --help prints defaults.
	token := fs.String("token", "", "token of an administrator (default $VEDETTE_TOKEN)")
	tenant := fs.String("tenant", "", "tenant to copy (default: the token's)")
	output := fs.String("output", "", "file to write; - for standard output")
	caFile := fs.String("ca-file", "", "PEM file of the authority that signed the server's certificate")
	insecure := fs.Bool("insecure", false, "accept any certificate")
	if _, err := parse(fs, args, st); err != nil {
		return err
	}
	client, err := httpsClient(*caFile, *insecure)
	if err != nil {
		return err
	}
	if *output == "" {
		return &usageError{"vedette backup: --output is missing; it names the file to write, such as vedette.tar.gz"}
	}
	u, err := url.Parse(*base)
	if err != nil || u.Host == "" {
		return &usageError{fmt.Sprintf("vedette backup: --url %q: want a URL such as http://%s", *base, DefaultListen)}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.JoinPath("/api/v1/admin/backup").String(), nil)
	if err != nil {
		return err
	}
	if *token = cmp.Or(*token, os.Getenv("VEDETTE_TOKEN")); *token != "" {
		req.Header.Set("Authorization", "Bearer "+*token)
	}
	if *tenant != "" {
		req.Header.Set("X-Vedette-Tenant", *tenant)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s for a backup: %w", *base, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return fmt.Errorf("%s refused the backup: %s: %s", *base, resp.Status, strings.TrimSpace(string(b)))
	}
	if *output == "-" {
		_, err := io.Copy(st.out, resp.Body)
		return err
	}
	// Written beside and renamed: a cut backup never stands under the name.
	f, err := os.CreateTemp(filepath.Dir(*output), ".vedette-backup-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	n, err := io.Copy(f, resp.Body)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("the backup was cut short: %w", err)
	}
	if err := os.Rename(f.Name(), *output); err != nil {
		return err
	}
	fmt.Fprintf(st.out, "%s: %d bytes\n", *output, n)
	return nil
}

func cmdRestore(_ context.Context, args []string, st streams) error {
	fs := flags("restore", st)
	input := fs.String("input", "", "backup to read; - for standard input")
	data := fs.String("data", DefaultData, "data directory")
	tenant := fs.String("tenant", "", "tenant to restore into (default: the one in the backup)")
	if _, err := parse(fs, args, st); err != nil {
		return err
	}
	r := st.in
	switch *input {
	case "":
		return &usageError{"vedette restore: --input is missing; it names the backup to read"}
	case "-":
	default:
		f, err := os.Open(*input)
		if err != nil {
			return err
		}
		defer f.Close()
		r = f
	}
	name, err := Restore(bufio.NewReader(r), *data, *tenant)
	if err != nil {
		return err
	}
	fmt.Fprintf(st.out, "tenant %s restored below %s\n", name, *data)
	return nil
}

func cmdHash(_ context.Context, args []string, st streams) error {
	if _, err := parse(flags("hash-password", st), args, st); err != nil {
		return err
	}
	fmt.Fprint(st.err, "password: ")
	line, err := bufio.NewReader(st.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	h, err := web.HashPassword(strings.TrimRight(line, "\r\n"))
	if record.KindOf(err) == record.Invalid && err != nil {
		return &usageError{err.Error()}
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(st.out, h)
	return nil
}

func cmdVersion(_ context.Context, args []string, st streams) error {
	if _, err := parse(flags("version", st), args, st); err != nil {
		return err
	}
	v := buildInfo()
	fmt.Fprintf(st.out, "vedette %s (revision %s, built %s, %s)\n", v.Version, orUnknown(v.Revision), orUnknown(v.BuildTime), v.Go)
	return nil
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
