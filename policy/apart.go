package policy

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// speaksApart reports whether the rule says of each VM what it says from that VM
// alone, and from documents that are not lists of VMs. Asked about some of a
// cluster's VMs it then says what it would say of those among all: where few have
// changed, it is asked about those.
//
// That is so where each clause takes one VM out of input.vms or input.marked, looks
// at no other place in them, and names it in what it says: such a clause is true of a
// VM for no other reason than that one, since nothing before or after it counts,
// negates or gathers VMs.
func speaksApart(c *ast.Compiler, path ast.Ref) bool {
	for _, rule := range c.GetRulesExact(path) {
		if rule.Else != nil || !clauseApart(c, rule) {
			return false
		}
	}
	return true
}

func clauseApart(c *ast.Compiler, rule *ast.Rule) bool {
	vm, index, found := ast.Var(""), ast.Var(""), 0
	for _, e := range rule.Body {
		if v, ref := equality(e); ref != nil {
			if k, at := itemOf(ref); k == aVM && at > 1 && len(ref) == at+1 {
				i, ok := ref[at].Value.(ast.Var)
				if !ok {
					return false
				}
				vm, index, found = v, i, found+1
			}
		}
	}
	if found != 1 {
		return false
	}
	lists, indices := 0, 0
	ast.WalkRefs(rule, func(ref ast.Ref) bool {
		if ref[0].Equal(ast.InputRootDocument) {
			if k, at := itemOf(ref); len(ref) == 1 || !ref[1].IsGround() || (k == aVM && at > 1) {
				lists++
			}
		} else if ref[0].Equal(ast.DefaultRootDocument) && readsInput(c, ref, "vms", "marked", "vm_load") {
			lists += 2
		}
		return false
	})
	ast.WalkVars(rule, func(v ast.Var) bool {
		if v == index {
			indices++
		}
		return false
	})
	return lists == 1 && indices == 1 && saysOf(rule, vm)
}

// equality is the variable and the ref that a plain v = ref is made of.
func equality(e *ast.Expr) (ast.Var, ast.Ref) {
	terms, ok := e.Terms.([]*ast.Term)
	if !ok || !e.IsEquality() || e.Negated || len(e.With) > 0 || len(terms) != 3 {
		return "", nil
	}
	for _, i := range []int{1, 2} {
		v, okV := terms[i].Value.(ast.Var)
		ref, okR := terms[3-i].Value.(ast.Ref)
		if okV && okR {
			return v, ref
		}
	}
	return "", nil
}

// saysOf reports whether all that the rule says has the VM's ID as its vm.
func saysOf(rule *ast.Rule, vm ast.Var) bool {
	id := ast.Ref{ast.NewTerm(vm), ast.StringTerm("id")}
	isID := func(t *ast.Term) bool {
		if ref, ok := t.Value.(ast.Ref); ok {
			return ref.Equal(id)
		}
		return slices.ContainsFunc(rule.Body, func(e *ast.Expr) bool {
			v, ref := equality(e)
			return ref != nil && ref.Equal(id) && t.Value.Compare(v) == 0
		})
	}
	says := func(t *ast.Term) bool {
		obj, ok := t.Value.(ast.Object)
		if !ok {
			return false
		}
		who := obj.Get(ast.InternedTerm("vm"))
		return who != nil && isID(who)
	}
	key := rule.Head.Key
	if key == nil {
		return false
	}
	return says(key) || slices.ContainsFunc(rule.Body, func(e *ast.Expr) bool {
		terms, ok := e.Terms.([]*ast.Term)
		return ok && e.IsEquality() && !e.Negated && len(e.With) == 0 && len(terms) == 3 &&
			((terms[1].Equal(key) && says(terms[2])) || (terms[2].Equal(key) && says(terms[1])))
	})
}
