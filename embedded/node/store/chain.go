package store

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// chain computes the hash chain over the records, one record after the other.
type chain struct {
	hash   Hash
	digest hash.Hash
}

func newChain(from Hash) *chain { return &chain{hash: from, digest: sha256.New()} }

// advance adds the record at a position to the chain. The record's own hash field is not hashed.
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
