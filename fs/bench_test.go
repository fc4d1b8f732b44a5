package fs

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Each benchmark runs on the bare backing directory and on the mount, in the
// same run, so that the two can be compared on a machine whose timings wander.
func native(b *testing.B, run func(b *testing.B, dir string)) {
	r := newRig(b)
	check(b, os.Mkdir(r.back+"/native", 0o755))
	check(b, os.Mkdir(r.path("mounted"), 0o755))
	b.Run("native", func(b *testing.B) { run(b, r.back+"/native") })
	b.Run("closefs", func(b *testing.B) { run(b, r.path("mounted")) })
}

func BenchmarkCreate16K(b *testing.B) {
	content := make([]byte, 16<<10)
	native(b, func(b *testing.B, dir string) {
		i := 0
		for b.Loop() {
			i++
			fd, err := unix.Open(fmt.Sprintf("%s/%d-%d", dir, b.N, i), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644)
			check(b, err)
			_, err = unix.Write(fd, content)
			check(b, err)
			check(b, unix.Close(fd))
		}
		b.StopTimer()
		check(b, os.RemoveAll(dir))
		check(b, os.Mkdir(dir, 0o755))
	})
}

func BenchmarkOpenReadClose(b *testing.B) {
	buf := make([]byte, 16<<10)
	native(b, func(b *testing.B, dir string) {
		check(b, os.WriteFile(dir+"/f", buf, 0o644))
		for b.Loop() {
			fd, err := unix.Open(dir+"/f", unix.O_RDONLY, 0)
			check(b, err)
			_, err = unix.Read(fd, buf)
			check(b, err)
			check(b, unix.Close(fd))
		}
	})
}

func BenchmarkStatWarm(b *testing.B) {
	native(b, func(b *testing.B, dir string) {
		check(b, os.WriteFile(dir+"/f", nil, 0o644))
		var st unix.Stat_t
		for b.Loop() {
			check(b, unix.Stat(dir+"/f", &st))
		}
	})
}

func BenchmarkWrite4K(b *testing.B) {
	buf := make([]byte, 4096)
	native(b, func(b *testing.B, dir string) {
		fd, err := unix.Open(dir+"/f", unix.O_CREAT|unix.O_WRONLY, 0o644)
		check(b, err)
		for b.Loop() {
			_, err := unix.Pwrite(fd, buf, 0)
			check(b, err)
		}
		check(b, unix.Close(fd))
	})
}

func BenchmarkReaddirStat(b *testing.B) {
	native(b, func(b *testing.B, dir string) {
		for i := range 1000 {
			check(b, os.WriteFile(fmt.Sprintf("%s/f%d", dir, i), nil, 0o644))
		}
		for b.Loop() {
			entries, err := os.ReadDir(dir)
			check(b, err)
			for _, e := range entries {
				_, err := e.Info()
				check(b, err)
			}
		}
	})
}
