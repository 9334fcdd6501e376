// Package credentials makes and keeps what clients of the embedded stores of one data directory need to get in: two
// accounts with generated passwords, and the certificate of the authority that signs the stores' own certificates.
//
// The file stores.json holds all of it and can be read by its owner only; stores-ca.crt repeats the authority's
// certificate for clients that want a file. Neither needs a backup: the stores keep no accounts of their own, so a
// directory without these files gets new ones.
package credentials
