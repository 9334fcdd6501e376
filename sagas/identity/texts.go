package identity

import (
	"strings"

	"casebook/domain/diary"
)

// reminderText is a reminder in a language. It names no trial, no disease, no treatment and no instrument: whoever stands beside the
// patient may read it.
type reminderText struct{ language, subject, body string }

// reminderTexts are the reminders; the first is for languages that are not among them.
var reminderTexts = []reminderText{
	{"en", "Your diary is open", "There is something for you to fill in. Please open the app."},
	{"cs", "Váš deník je otevřený", "Čeká na vás záznam k vyplnění. Otevřete prosím aplikaci."},
	{"da", "Din dagbog er åben", "Der er noget, du skal udfylde. Åbn venligst appen."},
	{"de", "Ihr Tagebuch ist offen", "Es gibt einen Eintrag für Sie. Bitte öffnen Sie die App."},
	{"es", "Su diario está abierto", "Tiene una entrada por completar. Por favor, abra la aplicación."}, //nolint:misspell // it is not English
	{"fi", "Päiväkirjasi on auki", "Sinulla on täytettävää. Avaa sovellus."},
	{"fr", "Votre journal est ouvert", "Vous avez une entrée à remplir. Veuillez ouvrir l’application."},
	{"it", "Il suo diario è aperto", "C’è una voce da compilare. Apra l’applicazione, per favore."}, //nolint:misspell // it is not English
	{"nl", "Uw dagboek staat open", "Er is iets voor u om in te vullen. Open de app, alstublieft."},
	{"no", "Dagboken din er åpen", "Det er noe du skal fylle ut. Vennligst åpne appen."},
	{"pl", "Twój dzienniczek jest otwarty", "Czeka wpis do wypełnienia. Prosimy otworzyć aplikację."},
	{"pt", "O seu diário está aberto", "Tem um registo por preencher. Por favor, abra a aplicação."}, //nolint:misspell // it is not English
	{"sv", "Din dagbok är öppen", "Det finns något för dig att fylla i. Öppna appen."},
}

// reminderIn returns the reminder in a language, whatever its region or script.
func reminderIn(language diary.Language) reminderText {
	base, _, _ := strings.Cut(string(language), "-")
	if base == "nb" || base == "nn" { // both are Norwegian
		base = "no"
	}
	for _, text := range reminderTexts {
		if text.language == base {
			return text
		}
	}
	return reminderTexts[0]
}
