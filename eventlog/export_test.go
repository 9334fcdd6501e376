package eventlog

// KeepNews bounds how many of the newest events a log keeps for its followers. It is called before anybody follows.
func KeepNews(l *Log, events int) { l.newsMost = events }
