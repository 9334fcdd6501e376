package store

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// chain computes the hash of one record after the other.
type chain struct {
	hash   Hash
	digest hash.Hash
}

func newChain(from Hash) *chain { return &chain{hash: from, digest: sha256.New()} }

// advance takes the record at position into the chain; the record's own hash field is left out.
func (c *chain) advance(position uint64, record []byte) {
	var p [8]byte
	binary.BigEndian.PutUint64(p[:], position)
	c.digest.Reset()
	c.digest.Write(c.hash[:])
	c.digest.Write(p[:])
	c.digest.Write(record[:1])
	c.digest.Write(record[bodyOffset:])
	c.digest.Sum(c.hash[:0])
}
