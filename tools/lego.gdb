# For gdb on a program under LegoOS: gdb -x tools/lego.gdb -p HOST-PID (`lego ps` shows it).
# The monitor lives on these signals: they are neither errors nor news.
handle SIGSYS SIGBUS SIGSEGV nostop noprint pass
set pagination off

define lego-symbols
  # The monitor's image is linked at a fixed address. Give its path: lego-symbols build/processor/monitor/lego-monitor
  symbol-file $arg0
end
document lego-symbols
Loads the symbols of the process monitor: lego-symbols PATH-OF-LEGO-MONITOR
end
