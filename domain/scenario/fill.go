package scenario

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"casebook/domain/blind"
)

// Fill sets every field of an addressable value to a value of its own, so that none is left out or taken for another. The
// values are derived from path and the fields' names. Blinded values are filled too.
func Fill(v reflect.Value, path string) {
	if b, ok := v.Addr().Interface().(blind.Unsealer); ok {
		holds, _ := v.Type().MethodByName("Open")
		plain := reflect.New(holds.Type.Out(0)).Elem()
		Fill(plain, path)
		text, err := json.Marshal(plain.Interface())
		if err != nil {
			panic(err)
		}
		if err := b.UnsealFrom(text); err != nil {
			panic(err)
		}
		return
	}
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Date(2026, 3, 1, 20, 30, len(path)%60, 0, time.UTC)))
		return
	case v.Type() == reflect.TypeFor[json.RawMessage]():
		v.Set(reflect.ValueOf(json.RawMessage(`{"any":1}`)))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Tag.Get("json") != "-" {
				Fill(v.Field(i), path+"."+f.Name)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		Fill(v.Elem(), path)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		Fill(v.Index(0), path+"[0]")
	case reflect.Array:
		for i := range v.Len() {
			Fill(v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		Fill(key, path+".key")
		Fill(value, path+".value")
		v.SetMapIndex(key, value)
	case reflect.Interface:
		v.Set(reflect.ValueOf("any of " + path))
	case reflect.String:
		v.SetString(path)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(len(path)))
	case reflect.Uint64:
		v.SetUint(uint64(len(path)))
	case reflect.Float64:
		v.SetFloat(float64(len(path)) + 0.5)
	default:
		panic(fmt.Sprintf("%s: cannot fill a %s", path, v.Type()))
	}
}
