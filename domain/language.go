package domain

import "regexp"

// LanguagePattern is the shape of a language tag (BCP 47, RFC 5646) without the rarer parts, such as de, en-GB or zh-Hans-CN.
const LanguagePattern = `^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$`

// IsLanguage says whether a text has the shape of a language tag.
var IsLanguage = regexp.MustCompile(LanguagePattern).MatchString
