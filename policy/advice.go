package policy

import (
	"regexp"
	"strings"
)

// advices says what to write instead, by what the compiler or the contract
// found wrong. The first that matches counts. Messages that say it themselves
// are not listed.
var advices = []struct {
	about *regexp.Regexp
	text  string
}{
	{regexp.MustCompile(`^undefined ref: data\.(placement\.\w+\.)?params`), "parameters are what params/data.json has for this policy: add it there, or correct the name"},
	{regexp.MustCompile(`^undefined ref: data\.fleet`), "data.fleet is described by: heliostat policy schema fleet"},
	{regexp.MustCompile(`^undefined ref: data\.facts`), "facts are the tables below facts/ in your bundle: facts/NAME/data.json is data.facts.NAME"},
	{regexp.MustCompile(`^undefined ref`), "what a rule sees is described by: heliostat policy schema input, and below data.fleet by: heliostat policy schema fleet"},
	{regexp.MustCompile(`^undefined function`), "call a function of your own bundle, or one of the built-ins listed by: heliostat policy schema capabilities"},
	{regexp.MustCompile(`^\S+ is not available to policies`), "use what data.fleet has (the time is data.fleet.now, in Unix seconds), or tables of your own in facts/"},
	{regexp.MustCompile(`^assigned var \w+ unused`), "use it, or delete the line"},
	{regexp.MustCompile(`^declared var \w+ unused`), "use it, or write _ in its place"},
	{regexp.MustCompile(`^import .* unused`), "delete the import"},
	{regexp.MustCompile(`^var \w+ is unsafe`), "give it a value first (some x in input.vms, x := ...), or correct its spelling"},
	{regexp.MustCompile(`^match error`), "the two sides have different types: compare values of one type"},
	{regexp.MustCompile(`: invalid argument\(s\)`), "the argument's type is wrong: see have and want"},
	{regexp.MustCompile(`: arity mismatch`), "the number of arguments is wrong: see have and want"},
	{regexp.MustCompile(`^expressions using with keyword`), "give the value in the body: NAME(x) := y if { y := ... with input as ... }"},
	{regexp.MustCompile(`^conflicting rules`), "give one of the two another name, or write both as NAME contains ..."},
	{regexp.MustCompile(`is recursive`), "a rule may not call itself: for steps along a graph use graph.reachable"},
	{regexp.MustCompile(`^unexpected eof`), "something that was opened is not closed: a brace, a bracket, a string"},
	{regexp.MustCompile(`^var cannot be used for rule name`), "write NAME contains {...} if {...}; keywords such as contains and if stand by themselves"},
	{regexp.MustCompile("`if` keyword is required|`contains` keyword is required"), "write NAME contains {...} if {...}"},
	{regexp.MustCompile("^" + errLinkedFolder.Error()), "put the folder itself there, or name the one that it leads to as the folder of the policies"},
	{regexp.MustCompile(`^path escapes`), "a link that leads out of the folder of the policies is not followed: put the file itself there"},
	{regexp.MustCompile(`^is no plain file`), "move it elsewhere: a policy or a table is a file that can be read to its end"},
	{regexp.MustCompile(`empty module$`), "begin with: package placement.NAME"},
	{regexp.MustCompile(`^illegal utf-8`), "save the file as UTF-8"},
	{regexp.MustCompile(`^yaml: `), "an annotation is YAML: the same number of blanks before keys of the same level, quotes around a text with : or #"},
	{regexp.MustCompile(`annotation redeclared`), "annotate the rule at one place: in the first of its files"},
	{regexp.MustCompile(`^contract is `), "write custom: {contract: 1} in the annotations of package placement, or leave that package out: one ships"},
	{regexp.MustCompile(`is not a rule of the contract`), "a helper needs no entrypoint: delete the annotation, or correct the rule's name"},
	{regexp.MustCompile(`^package \S+: (policies are packages below placement|a policy's name)`), "write package placement.NAME"},
	{regexp.MustCompile(`^the root package placement needs`), "a policy is a package of its own, placement.NAME; leave the root out: one ships"},
	{regexp.MustCompile(`^\w+ reads \w+: it is asked at scope`), "write that scope in custom: {reads: ...}"},
	{regexp.MustCompile(`reads input\.\w+, which scope`), "use what the scope is shown, or write the wish as a rule of another scope"},
	{regexp.MustCompile(`would not be asked`), "add the annotation above the rule"},
	{regexp.MustCompile(`a rule that can be undefined`), "begin the rule with: NAME contains {"},
	{regexp.MustCompile(`: did not end within`), "do less for each VM: look things up in an object or a set made once, in place of comparing all with all"},
	{regexp.MustCompile(`divide by zero`), "ask first that the divisor is not 0"},
	{regexp.MustCompile(`^test \w+ failed`), "print(...) in the test shows values: heliostat policy test -v"},
	{regexp.MustCompile(`^invalid character|^unexpected end of JSON|^unexpected EOF`), "JSON has double quotes, and no comma after the last item"},
}

// adviceFor is empty where the message says all there is to say.
func adviceFor(message string) string {
	if like := nearest(message); like != "" {
		return "is " + like + " meant?"
	}
	for _, a := range advices {
		if a.about.MatchString(message) {
			return a.text
		}
	}
	return ""
}

// haveWant takes apart what the type checker says of a name that is not there.
var haveWant = regexp.MustCompile(`have: "(\w+)"\s+want \(one of\): \[(.*)\]`)

// nearest is the name most like the one that is not there, of those that are;
// empty where none is alike.
func nearest(message string) string {
	m := haveWant.FindStringSubmatch(message)
	if m == nil {
		return ""
	}
	best, at := "", 3
	for want := range strings.FieldsSeq(m[2]) {
		name := strings.Trim(want, `"`)
		if d := distance(m[1], name); d < min(at, len(name)) {
			best, at = name, d
		}
	}
	return best
}
