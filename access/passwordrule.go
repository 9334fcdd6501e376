package access

import (
	_ "embed" // for famous.txt
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"casebook/domain"
	"casebook/domain/refuse"

	"github.com/trustelem/zxcvbn"
)

const (
	// minPassword and maxPassword bound a password's length in characters. NIST SP 800-63B-4, section 3.1.1, requires 15,
	// or 8 with a second factor.
	minPassword = 12
	maxPassword = 200
	// minScore is zxcvbn's highest score: more than 10^10 guesses by somebody who tries common passwords, names, words,
	// dates, keyboard patterns and repeats first. A phrase of four ordinary words reaches it.
	minScore = 4
	// judgedPassword is how many characters are judged, because zxcvbn takes long for long repeats.
	judgedPassword = 64
)

//go:embed famous.txt
var famousText string

// famous are passphrases that everybody knows, as letters alone, and the words of the best known one. A guesser tries them
// before anything else, and zxcvbn takes each for words that nobody would put together.
var famous = strings.Fields(famousText)

// CheckPassword refuses a password that is too easy to guess (code weak_password). What guessers try first is what they
// know of the person, and famous passphrases, with spaces or without.
func CheckPassword(password string, known ...string) error {
	n := utf8.RuneCountInString(password)
	if n < minPassword || n > maxPassword {
		return weakPassword("the password has %d characters", n)
	}
	judged := []rune(password)
	if strings.Trim(password, string(judged[:1])) == "" { // zxcvbn counts bytes here, so that it misses other letters than ASCII
		return weakPassword("the password repeats one character")
	}
	if strings.ContainsFunc(password, unicode.IsControl) {
		return weakPassword("the password has a character that nobody can type")
	}
	known = slices.Concat(known, []string{Issuer}, famous)
	if zxcvbn.PasswordStrength(string(judged[:min(n, judgedPassword)]), known).Score < minScore || isFamous(password) {
		return weakPassword("the password is a common one, or made of parts that guessers try first")
	}
	return nil
}

// isFamous says that hardly anything is left of a password without famous passphrases, however its words are written.
func isFamous(password string) bool {
	letters := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, password)
	left := letters
	for _, phrase := range famous {
		left = strings.ReplaceAll(left, phrase, "")
	}
	return left != letters && utf8.RuneCountInString(left) < minPassword
}

// CheckPasswordOf refuses a password of the user that is too easy to guess (code weak_password).
func CheckPasswordOf(u domain.UserID, name, password string) error {
	return CheckPassword(password, append(wordsOf(name), append(wordsOf(string(u)), string(u))...)...)
}

func weakPassword(format string, args ...any) error {
	return refuse.Because("weak_password", format, args...).At("password").
		Do("use 12 to 200 characters that nobody can guess, such as four words that have nothing to do with each other")
}
