package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"synoptic/internal/lab"
)

var update = flag.Bool("update", false, "rewrite the expected outputs in testdata/script")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"synlab": main})
}

// TestScript runs testdata/script. Each file has a lab of its own, $LAB, which
// is down when the file is done, whichever way.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			name := fmt.Sprintf("test%d-%s", os.Getpid(), filepath.Base(env.WorkDir))
			env.Setenv("LAB", name)
			env.Defer(func() {
				if err := lab.TakeDown(name); err != nil {
					t.Error(err)
				}
			})
			return nil
		},
		Condition: func(cond string) (bool, error) {
			// Not root: left out on a laptop, a failure in CI.
			return cond == "root" && (os.Geteuid() == 0 || os.Getenv("CI") == "true"), nil
		},
	})
}
