import java.io.*;
import java.lang.management.*;
import java.net.*;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;

/** What java.sh runs; prints nothing that differs from run to run. */
public class Work {
    static long churn(int seed) {
        Random r = new Random(seed);
        Map<Integer, byte[]> kept = new HashMap<>();
        long sum = 0;
        for (int i = 0; i < 60000; i++) {
            byte[] b = new byte[256 + r.nextInt(1024)];
            b[0] = (byte) i;
            b[b.length - 1] = (byte) seed;
            kept.put(r.nextInt(12000), b);
        }
        for (byte[] b : kept.values())
            sum += b[0] + 31L * b[b.length - 1] + b.length;
        return sum;
    }

    static void threads() throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(4);
        List<Future<Long>> all = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            int seed = i;
            all.add(pool.submit(() -> churn(seed)));
        }
        for (Future<Long> f : all)
            System.out.println("churn " + f.get());
        pool.shutdown();
        AtomicLong n = new AtomicLong();
        Thread[] ts = new Thread[8];
        for (int i = 0; i < ts.length; i++)
            (ts[i] = new Thread(() -> { for (int k = 0; k < 10000; k++) synchronized (n) { n.addAndGet(1); } })).start();
        for (Thread t : ts)
            t.join();
        System.out.println("counted " + n);
    }

    static void network() throws Exception {
        try (ServerSocket s = new ServerSocket(0, 5, InetAddress.getLoopbackAddress())) {
            Thread t = new Thread(() -> {
                try {
                    for (int i = 0; i < 5; i++)
                        try (Socket c = s.accept()) {
                            BufferedReader in = new BufferedReader(new InputStreamReader(c.getInputStream()));
                            c.getOutputStream().write((in.readLine().toUpperCase() + "\n").getBytes());
                        }
                } catch (IOException e) {
                    System.out.println(e);
                }
            });
            t.start();
            for (int i = 0; i < 5; i++)
                try (Socket c = new Socket(s.getInetAddress(), s.getLocalPort())) {
                    c.getOutputStream().write(("request " + i + "\n").getBytes());
                    System.out.println(new BufferedReader(new InputStreamReader(c.getInputStream())).readLine());
                }
            t.join();
        }
    }

    public static void main(String[] args) throws Exception {
        threads();
        Path p = Files.write(Path.of("lines"), "one\ntwo\nthree\n".getBytes());
        System.out.println(Files.readAllLines(p) + " " + Files.size(p));
        network();
        Process child = new ProcessBuilder("sh", "-c", "tr a-z A-Z; exit 3").start();
        child.getOutputStream().write("child\n".getBytes());
        child.getOutputStream().close();
        System.out.println(new String(child.getInputStream().readAllBytes()).trim() + " " + child.waitFor());
        int deep = 0;
        try {
            deep = fall(0);
        } catch (StackOverflowError e) {
            System.out.println("stack overflow caught");
        }
        Object o = args.length > 5 ? "" : null;
        try {
            System.out.println(o.toString() + deep);
        } catch (NullPointerException e) {
            System.out.println("null pointer caught");
        }
        long collections = 0;
        for (GarbageCollectorMXBean g : ManagementFactory.getGarbageCollectorMXBeans())
            collections += g.getCollectionCount();
        System.out.println("collected " + (collections > 0));
        System.out.println("processors " + Runtime.getRuntime().availableProcessors());
    }

    static int fall(int n) {
        return n < 0 ? 0 : fall(n + 1) + 1;
    }
}
