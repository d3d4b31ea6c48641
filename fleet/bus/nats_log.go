package bus

import (
	"fmt"
	"log/slog"

	"github.com/nats-io/nats-server/v2/server"
)

// natsLog passes the server's log on. Its notices are details here.
type natsLog struct{ log *slog.Logger }

var _ server.Logger = natsLog{}

func (l natsLog) Noticef(f string, v ...any) { l.log.Debug("bus server", "says", fmt.Sprintf(f, v...)) }
func (l natsLog) Warnf(f string, v ...any)   { l.log.Warn("bus server", "says", fmt.Sprintf(f, v...)) }
func (l natsLog) Fatalf(f string, v ...any)  { l.log.Error("bus server", "says", fmt.Sprintf(f, v...)) }
func (l natsLog) Errorf(f string, v ...any)  { l.log.Error("bus server", "says", fmt.Sprintf(f, v...)) }
func (l natsLog) Debugf(string, ...any)      {}
func (l natsLog) Tracef(string, ...any)      {}
