# make -j3 over C++ with templates at -O2, a static library, and the program it makes.
# packages: g++ make
# excache: 24M
# timeout: 240
. "$(dirname "$0")/lib.sh"
for i in 1 2 3; do
	cat >m$i.cc <<CC
#include <algorithm>
#include <map>
#include <string>
#include <vector>
long work$i(int n)
{
	std::map<std::string, long> m;
	std::vector<int> v(n);
	for (int i = 0; i < n; i++)
		v[i] = i * 7919 % 10007 + $i;
	std::sort(v.begin(), v.end());
	for (int x : v)
		m[std::to_string(x % 100)] += x;
	long s = 0;
	for (auto &[k, x] : m)
		s = s * 31 + x + static_cast<long>(k.size());
	return s;
}
CC
done
cat >main.cc <<'CC'
#include <future>
#include <iostream>
#include <stdexcept>
long work1(int), work2(int), work3(int);
int main()
{
	auto a = std::async(std::launch::async, work1, 200000);
	std::cout << work2(100000) << ' ' << work3(50000) << ' ' << a.get() << '\n';
	try {
		throw std::runtime_error("thrown");
	} catch (const std::exception &e) {
		std::cout << e.what() << '\n';
	}
}
CC
cat >Makefile <<'MK'
prog: main.o libm.a
	$(CXX) -o $@ main.o -L. -l:libm.a -pthread
libm.a: m1.o m2.o m3.o
	ar rcs $@ $^
%.o: %.cc
	$(CXX) -std=c++17 -O2 -g -c $< -o $@
MK
make -j3 2>&1 | sort
./prog
nm -C prog | grep -c work
