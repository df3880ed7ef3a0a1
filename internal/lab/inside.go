package lab

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
)

// insideVar tells a test process that it is the one inside.
const insideVar = "SYNOPTIC_LAB_TEST"

// InNamespace has the calling test run in a process of its own, all of whose
// threads are in a fresh network namespace, so that goroutines need no care:
//
//	func TestScan(t *testing.T) {
//		if !lab.InNamespace(t) {
//			return // the child's result has become this test's
//		}
//		l := lab.New(t, lab.Config{Here: true})
//
// The child runs this one test of the same binary, and is killed if the parent
// dies. Not for sub-tests.
func InNamespace(t TB) bool {
	t.Helper()
	if os.Getenv(insideVar) == t.Name() {
		if err := Guard(); err != nil {
			t.Fatalf("%v", err)
		}
		return true
	}
	NeedRoot(t)
	args := []string{"-test.run=^" + regexp.QuoteMeta(t.Name()) + "$", "-test.v", "-test.count=1"}
	for _, a := range os.Args[1:] {
		if strings.HasPrefix(a, "-test.short") || strings.HasPrefix(a, "-test.timeout") {
			args = append(args, a)
		}
	}
	started := make(chan error)
	var out bytes.Buffer
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), insideVar+"="+t.Name())
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	// The thread that starts the child has to stay as long as it.
	onOwnThread(func() { started <- cmd.Run() })
	err := <-started
	if strings.Contains("\n"+out.String(), "\n--- SKIP: "+t.Name()+" ") {
		t.Skipf("inside the namespace:\n%s", &out)
	}
	if err != nil {
		t.Fatalf("inside the namespace: %v\n%s", err, &out)
	}
	t.Logf("inside the namespace:\n%s", &out)
	return false
}
