/* A filled example of every wire struct, field by field in the order of spec/wire.h, each with its own value: a field that moves, grows
 * or is forgotten changes the bytes. Padding stays zero. A new struct gets its function here, by hand. */
#ifndef LEGO_TESTS_WIRE_FILL_H
#define LEGO_TESTS_WIRE_FILL_H

#include "tests/wire/example.h"
#include "tests/wire/fill_storage.h"

static void fill_nothing(void *at)
{
}

static void fill_greeting(void *at)
{
	struct greeting *s = at;

	NUM(magic);
	NUM(version);
	EACH(nonce);
	NUM(incarnation);
	NUM(seal);
}

static void fill_hello(void *at)
{
	struct hello *s = at;

	NUM(magic);
	NUM(version);
	NUM(kind);
	NUM(role);
	NUM(want_ring);
	NUM(seal);
	NUM(vnode);
	NUM(asid);
	NUM(uid);
	NUM(gid);
	NUM(incarnation);
	NUM(session);
	TEXT(name);
	EACH(nonce);
	EACH(share);
	EACH(mac);
}

static void fill_welcome(void *at)
{
	struct welcome *s = at;

	NUM(magic);
	NUM(status);
	NUM(ring_len);
	NUM(seal);
	NUM(incarnation);
	NUM(session);
	TEXT(name);
	EACH(share);
	EACH(mac);
}

static void fill_ucx_offer(void *at)
{
	struct ucx_offer *s = at;

	NUM(magic);
	NUM(chan);
	NUM(token);
	NUM(worker);
	NUM(len);
	EACH(addr);
	EACH(mac);
}

static void fill_gm_register_req(void *at)
{
	struct gm_register_req *s = at;

	NUM(kind);
	NUM(incarnation);
	NUM(total_bytes);
	NUM(host_pid);
	NUM(cores);
	TEXT(name);
	TEXT(addr);
	TEXT(labels);
}

static void fill_gm_register_rep(void *at)
{
	struct gm_register_rep *s = at;

	NUM(term);
	NUM(cluster_id);
	TEXT(name);
	NUM(beat_ms);
	NUM(lease_ms);
	NUM(region_bytes);
	NUM(near_bytes);
	NUM(epoch);
}

static void fill_gm_beat_req(void *at)
{
	struct gm_beat_req *s = at;

	NUM(incarnation);
	NUM(used_bytes);
	NUM(total_bytes);
	NUM(state);
	NUM(nproc);
	NUM(channels);
	NUM(spaces);
	NUM(files);
	NUM(load);
	NUM(committed_bytes);
	NUM(bytes_in);
	NUM(bytes_out);
	NUM(misses);
	NUM(fetches);
	NUM(miss_ns);
	NUM(view);
}

static void fill_view_node(void *at)
{
	struct view_node *s = at;

	TEXT(name);
	TEXT(addr);
	NUM(incarnation);
}

static void fill_proc_report(void *at)
{
	struct proc_report *s = at;

	NUM(asid);
	NUM(pid);
	NUM(host_pid);
	NUM(vnode);
	NUM(excache_bytes);
	NUM(excache_max_bytes);
	NUM(resident_bytes);
	NUM(remote_bytes);
	NUM(misses);
	NUM(fetches);
	TEXT(home);
	TEXT(command);
}

static void fill_gm_beat_rep(void *at)
{
	struct gm_beat_rep *s = at;

	NUM(term);
	NUM(known);
	NUM(go);
	NUM(view);
	NUM(nview);
}

static void fill_gm_place_req(void *at)
{
	struct gm_place_req *s = at;

	NUM(excache_bytes);
	NUM(replicas);
	TEXT(vnode);
	TEXT(node);
	TEXT(on);
}

static void fill_node_ref(void *at)
{
	struct node_ref *s = at;

	TEXT(name);
	TEXT(addr);
	NUM(epoch);
}

static void fill_chain_info(void *at)
{
	struct chain_info *s = at;

	NUM(id);
	NUM(epoch);
	NUM(flags);
	NUM(owner_incarnation);
	NUM(standby_incarnation);
	fill_node_ref(&s->owner);
	fill_node_ref(&s->standby);
}

static void fill_gm_chain_req(void *at)
{
	struct gm_chain_req *s = at;

	NUM(id);
	NUM(epoch);
	NUM(flags);
}

static void fill_mem_drain_req(void *at)
{
	struct mem_drain_req *s = at;

	TEXT(name);
	NUM(on);
}

static void fill_pd_share(void *at)
{
	struct pd_share *s = at;

	NUM(bytes);
	NUM(seq);
}

static void fill_pd_view_rep(void *at)
{
	struct pd_view_rep *s = at;

	NUM(view);
	NUM(count);
	for (u32 i = 0; i < ARRAY_SIZE(s->node); i++) {
		TEXT(node[i].name);
		NUM(node[i].incarnation);
	}
}

static void fill_pd_chain_req(void *at)
{
	struct pd_chain_req *s = at;

	NUM(asid);
	NUM(epoch);
}

static void fill_gm_place_rep(void *at)
{
	struct gm_place_rep *s = at;

	NUM(vnode_id);
	fill_node_ref(&s->processor);
	fill_node_ref(&s->memory);
	fill_node_ref(&s->storage);
	fill_chain_info(&s->chain);
	TEXT(why);
}

static void fill_gm_ids_req(void *at)
{
	struct gm_ids_req *s = at;

	NUM(what);
	NUM(count);
}

static void fill_gm_ids_rep(void *at)
{
	struct gm_ids_rep *s = at;

	NUM(first);
	NUM(count);
}

static void fill_vnode_spec(void *at)
{
	struct vnode_spec *s = at;

	NUM(memory_bytes);
	NUM(excache_bytes);
	NUM(cpus);
	NUM(replicas);
	NUM(own_net);
	NUM(storage_mib);
	TEXT(ip);
	TEXT(storage);
	TEXT(image);
	for (u32 i = 0; i < ARRAY_SIZE(s->on); i++)
		TEXT(on[i]);
}

static void fill_gm_vnode_req(void *at)
{
	struct gm_vnode_req *s = at;

	TEXT(name);
	NUM(what);
	fill_vnode_spec(&s->spec);
}

static void fill_gm_vnode_rep(void *at)
{
	struct gm_vnode_rep *s = at;

	NUM(id);
	NUM(seat);
	fill_node_ref(&s->storage);
	fill_vnode_spec(&s->spec);
	TEXT(why);
}

static void fill_gm_seat_req(void *at)
{
	struct gm_seat_req *s = at;

	NUM(seat);
}

static void fill_gm_seat_rep(void *at)
{
	struct gm_seat_rep *s = at;

	fill_node_ref(&s->processor);
}

static void fill_gm_procs_req(void *at)
{
	struct gm_procs_req *s = at;

	NUM(vnode);
}

static void fill_pd_procs_req(void *at)
{
	struct pd_procs_req *s = at;

	NUM(from);
}

static void fill_remote_proc(void *at)
{
	struct remote_proc *s = at;

	NUM(pid);
	NUM(resident_bytes);
	TEXT(command);
}

static void fill_pd_procs_rep(void *at)
{
	struct pd_procs_rep *s = at;

	NUM(count);
	for (u32 i = 0; i < PD_PROCS_MAX; i++)
		fill_remote_proc(&s->proc[i]);
}

static void fill_as_create_req(void *at)
{
	struct as_create_req *s = at;

	NUM(asid);
	NUM(vnode);
	NUM(uid);
	NUM(limit_bytes);
	fill_node_ref(&s->storage);
	NUM(flags);
	fill_chain_info(&s->chain);
}

static void fill_as_clone_req(void *at)
{
	struct as_clone_req *s = at;

	NUM(parent);
	NUM(child);
	NUM(lseq);
}

static void fill_as_destroy_req(void *at)
{
	struct as_destroy_req *s = at;

	NUM(asid);
}

static void fill_mem_reader_req(void *at)
{
	struct mem_reader_req *s = at;

	NUM(asid);
	NUM(vnode);
	NUM(on);
	fill_node_ref(&s->storage);
}

static void fill_as_stat_rep(void *at)
{
	struct as_stat_rep *s = at;

	NUM(committed_bytes);
	NUM(lines);
	NUM(zero_lines);
	NUM(vmas);
}

static void fill_as_mmap_req(void *at)
{
	struct as_mmap_req *s = at;

	NUM(lseq);
	NUM(addr);
	NUM(len);
	NUM(prot);
	NUM(flags);
	NUM(file_off);
	NUM(file_len);
	fill_file_ref(&s->file);
}

static void fill_as_range_req(void *at)
{
	struct as_range_req *s = at;

	NUM(lseq);
	NUM(addr);
	NUM(len);
}

static void fill_as_mprotect_req(void *at)
{
	struct as_mprotect_req *s = at;

	NUM(lseq);
	NUM(addr);
	NUM(len);
	NUM(prot);
}

static void fill_as_mremap_req(void *at)
{
	struct as_mremap_req *s = at;

	NUM(lseq);
	NUM(addr);
	NUM(old_len);
	NUM(new_addr);
	NUM(new_len);
}

static void fill_as_layout_rep(void *at)
{
	struct as_layout_rep *s = at;

	NUM(lseq);
	NUM(committed_bytes);
}

static void fill_mem_fetch_req(void *at)
{
	struct mem_fetch_req *s = at;

	NUM(addr);
	NUM(want);
	NUM(ticket);
	NUM(demand);
}

static void fill_mem_fetch_rep(void *at)
{
	struct mem_fetch_rep *s = at;

	NUM(addr);
	NUM(ticket);
	NUM(data);
	NUM(zero);
	NUM(no_line);
}

static void fill_mem_writeback_req(void *at)
{
	struct mem_writeback_req *s = at;

	NUM(count);
}

static void fill_wb_line(void *at)
{
	struct wb_line *s = at;

	NUM(addr);
	NUM(version);
	NUM(flags);
	NUM(crc);
}

static void fill_mem_writeback_rep(void *at)
{
	struct mem_writeback_rep *s = at;

	NUM(committed);
	NUM(refused);
}

static void fill_pd_lock_req(void *at)
{
	struct pd_lock_req *s = at;

	EACH(id);
	NUM(start);
	NUM(end);
	NUM(vnode);
	NUM(flags);
}

static void fill_mem_recall_req(void *at)
{
	struct mem_recall_req *s = at;

	EACH(id);
	NUM(vnode);
}

static void fill_pd_run_req(void *at)
{
	struct pd_run_req *s = at;

	NUM(excache_bytes);
	NUM(excache_max_bytes);
	NUM(replicas);
	NUM(nbind);
	NUM(uid);
	NUM(gid);
	TEXT(vnode);
	NUM(name_len);
}

static void fill_chan_desc(void *at)
{
	struct chan_desc *s = at;

	NUM(session);
	NUM(incarnation);
	NUM(ring_len);
	NUM(epoch);
	TEXT(name);
	NUM(seal);
	EACH(keys.out);
	EACH(keys.in);
}

static void fill_pd_space_rep(void *at)
{
	struct pd_space_rep *s = at;

	NUM(asid);
	NUM(excache_bytes);
	NUM(excache_max_bytes);
	NUM(share_bytes);
	NUM(vnode);
	NUM(own_net);
	fill_chan_desc(&s->memory);
	fill_chan_desc(&s->storage);
	NUM(chain);
	NUM(run_uid);
	NUM(run_gid);
	NUM(joins);
}

static void fill_pd_space_req(void *at)
{
	struct pd_space_req *s = at;

	NUM(asid);
	NUM(lseq);
}

static void fill_pd_report_req(void *at)
{
	struct pd_report_req *s = at;

	NUM(pid);
	NUM(json_len);
	NUM(resident_bytes);
	NUM(misses);
	NUM(fetches);
	NUM(writebacks);
	NUM(miss_ns);
	NUM(share_seq);
	NUM(flags);
	TEXT(command);
}

static void fill_pd_info_rep(void *at)
{
	struct pd_info_rep *s = at;

	NUM(mem_total_bytes);
	NUM(mem_free_bytes);
	NUM(excache_budget_bytes);
	NUM(cores);
	NUM(nproc);
}

static void fill_pd_kill_req(void *at)
{
	struct pd_kill_req *s = at;

	NUM(asid);
	NUM(vnode);
	NUM(pid);
	NUM(sig);
}

static void fill_shm_req(void *at)
{
	struct shm_req *s = at;

	NUM(object);
	NUM(off);
	NUM(len);
	NUM(addr);
	NUM(flags);
	NUM(mode);
	NUM(uid);
	NUM(gid);
	NUM(pid);
	NUM(key);
	fill_file_ref(&s->file);
}

static void fill_shm_rep(void *at)
{
	struct shm_rep *s = at;

	NUM(object);
	NUM(n);
	NUM(end);
	NUM(size);
	NUM(change);
	NUM(verifier);
}

static void fill_gm_regions_req(void *at)
{
	struct gm_regions_req *s = at;

	NUM(bytes);
	NUM(count);
	NUM(navoid);
	TEXT(avoid[0]);
	TEXT(avoid[7]);
	TEXT(from);
	NUM(vnode);
}

static void fill_gm_regions_rep(void *at)
{
	struct gm_regions_rep *s = at;

	NUM(count);
}

static void fill_gm_move_req(void *at)
{
	struct gm_move_req *s = at;

	TEXT(owner);
	NUM(bytes);
	NUM(vnode);
}

static void fill_gm_node_req(void *at)
{
	struct gm_node_req *s = at;

	TEXT(name);
}

static void fill_gm_node_set_req(void *at)
{
	struct gm_node_set_req *s = at;

	TEXT(name);
	NUM(what);
	NUM(force);
}

static void fill_gm_events_req(void *at)
{
	struct gm_events_req *s = at;

	NUM(from);
	NUM(max);
}

static void fill_gm_events_rep(void *at)
{
	struct gm_events_rep *s = at;

	NUM(next);
	NUM(lost);
}

static void fill_as_where_req(void *at)
{
	struct as_where_req *s = at;

	NUM(addr);
}

static void fill_as_where_rep(void *at)
{
	struct as_where_rep *s = at;

	NUM(lo);
	NUM(hi);
	TEXT(name);
	TEXT(standby);
	NUM(epoch);
	NUM(chain);
}

static void fill_part_req(void *at)
{
	struct part_req *s = at;

	NUM(asid);
	NUM(seq);
	NUM(kind);
	NUM(flags);
	NUM(count);
	NUM(epoch);
	NUM(lo);
	NUM(hi);
}

static void fill_part_rep(void *at)
{
	struct part_rep *s = at;

	NUM(seq);
	NUM(committed_bytes);
}

static void fill_part_read_req(void *at)
{
	struct part_read_req *s = at;

	NUM(asid);
	NUM(lo);
	NUM(hi);
	NUM(what);
}

static void fill_part_read_rep(void *at)
{
	struct part_read_rep *s = at;

	NUM(next);
	NUM(count);
}

static void fill_pd_channel_req(void *at)
{
	struct pd_channel_req *s = at;

	NUM(asid);
	TEXT(name);
	NUM(session);
}

#endif
