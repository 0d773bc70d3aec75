// A server on the UNIX socket that the platform names: one hop from the gateway, no port.
package main

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func hello(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"message": "hello from net/http", "path": r.URL.Path})
}

// echo sends the body back as it arrives.
func echo(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	if err := control.EnableFullDuplex(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	io.Copy(flushing{w, control}, r.Body)
}

// flushing passes every piece on at once.
type flushing struct {
	io.Writer
	control *http.ResponseController
}

func (f flushing) Write(piece []byte) (int, error) {
	n, err := f.Writer.Write(piece)
	if err == nil {
		err = f.control.Flush()
	}
	return n, err
}

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", hello)
	mux.HandleFunc("POST /echo", echo)

	listener, err := net.Listen("unix", os.Getenv("MAYFLY_SOCKET"))
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: mux}
	stop, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	drained := make(chan struct{})
	go func() {
		<-stop.Done()
		server.Shutdown(context.Background())
		close(drained)
	}()
	if err := server.Serve(listener); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	<-drained
}
