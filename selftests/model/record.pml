/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What happens to a record: all interleavings of those who may touch one address
 *
 * One address, which is allocated up to OBJECTS times; two owners. Owner 0's module
 * ends (its module goes: SETTLE) or is detached (else), owner 1's stays. What follows
 * the source stands beside the function that it follows; a piece under the stripe's
 * lock is one step unless the source drops the lock in it, for nobody else looks at
 * what the lock guards. check.sh runs all of this; Documentation/model.rst says what
 * it shows and what it leaves out.
 *
 *	SETTLE		owner 0's module goes, otherwise it is detached
 *	SECOND		one object is freed a second time, in any way, at any time
 *	BREAK_*		the same with something taken out: must fail
 */
#ifndef OBJECTS
#define OBJECTS 2
#endif

#define NONE 255
#define RECORDS (OBJECTS + 1)
#define OWNERS 2

/* enum mown_state */
#define LIVE 0
#define RCU 1
#define QUARANTINED 2
#define ELSEWHERE 3
#define GONE 4

/* record->freed: nowhere, in the owner's ring, in a batch (struct mown_freed) */
#define NOWHERE 0
#define RING 1
#define BATCH 2

/* ---- The kernel's memory, and what must hold of it ---- */

bool used;		/* the address is allocated */
byte there = NONE;	/* the object that has it */
byte made;		/* objects made so far */

/*
 * Of each object: a free that did not come through mown was seen to begin; mown has
 * decided to give it back, its point of no return; it was taken out of state LIVE
 * through mown; the kernel's allocator has it back; in whose tree mown has recorded it
 */
bool begun[OBJECTS], decided[OBJECTS], claimed[OBJECTS], returned[OBJECTS];
byte whose[OBJECTS] = NONE;
bool foreign[OBJECTS];	/* somebody has set out to free it, and not through mown */

/* To the kernel's allocator: what it must never get is what it has given to others. */
inline to_allocator(o)
{
	d_step {
		assert(used && there == o);
		assert(!returned[o]);
		returned[o] = true;
		used = false;
	}
}

/* Under the stripe's lock: the one decision to give an object back, claim 1 and 2 */
inline decide(o)
{
	assert(!decided[o]);
	assert(!begun[o]);
	assert(used && there == o);
	decided[o] = true;
}

/* ---- Records, trees, rings ---- */

typedef Record {
	bool taken;	/* the record's memory is in use */
	bool linked;	/* in its owner's tree */
	byte owner;
	byte obj;
	byte state;
	byte freed;
};

Record rec[RECORDS];
byte tree[OWNERS] = NONE;	/* owner->trees[] of the address's stripe */
byte ring[OWNERS] = NONE;	/* owner->quarantine */
byte batch = NONE;		/* the open batch of rcu.c, a slot of it */
byte filter;			/* the stripe's filter at the address */
bool listed[OWNERS] = true;	/* in mown_owners */
bool dying[OWNERS];		/* owner->dying */
bool ring_gone[OWNERS];		/* mown_quarantine_free() */
bool owner_gone[OWNERS];	/* mown_owner_put(), the last */
bool redirected = true;		/* owner 0's calls come to mown: mown_hooks_remove() */

bool stripe;			/* stripe->lock */

inline lock()
{
	atomic { !stripe -> stripe = true }
}

inline unlock()
{
	stripe = false
}

/* mown_record_new(), with its state LIVE and not linked */
inline record_new(r, o, who)
{
	d_step {
		r = 0;
		do
		:: rec[r].taken -> r++
		:: else -> break
		od;
		rec[r].taken = true;
		rec[r].linked = false;
		rec[r].owner = who;
		rec[r].obj = o;
		rec[r].state = LIVE;
		rec[r].freed = NOWHERE;
	}
}

/* mown_record_free(), by its holder alone */
inline record_free(r)
{
	d_step {
		assert(rec[r].taken && !rec[r].linked);
		assert(rec[r].freed != RING);
		rec[r].taken = false;
	}
}

/* mown_find(): who is not in the list is not looked at */
inline find(r)
{
	r = NONE;
	if
	:: listed[0] && tree[0] != NONE -> r = tree[0]
	:: else ->
		if
		:: listed[1] && tree[1] != NONE -> r = tree[1]
		:: else
		fi
	fi
}

/* mown_erase() */
inline erase(r)
{
	assert(rec[r].linked && tree[rec[r].owner] == r);
	assert(!owner_gone[rec[r].owner]);
	tree[rec[r].owner] = NONE;
	rec[r].linked = false;
	filter--;
}

/* mown_quarantine_take(): the ring's lock is part of the step */
inline ring_take(r)
{
	assert(ring[rec[r].owner] == r);
	ring[rec[r].owner] = NONE;
#ifndef BREAK_TAKE
	rec[r].freed = NOWHERE;
#endif
}

/* mown_forget(): MINE is whether the record is the caller's to free */
inline forget(r, mine)
{
	erase(r);
	mine = false;
	if
	:: rec[r].state == LIVE || rec[r].state == ELSEWHERE -> mine = true
	:: rec[r].state == QUARANTINED ->
		if
		:: rec[r].freed == RING ->
			ring_take(r);
			mine = true
		:: else
		fi
	:: rec[r].state == RCU -> skip
	fi;
#ifndef BREAK_GONE
	if
	:: !mine -> rec[r].state = GONE
	:: else
	fi
#endif
}

/* ---- RCU: who reads, and the one who waits ---- */

#define READERS 6
bool reads[READERS], waited_for[READERS];

inline rcu_lock(me)
{
	reads[me] = true
}

inline rcu_unlock(me)
{
	d_step {
		reads[me] = false;
		waited_for[me] = false;
	}
}

/* Waits for those that read now, and no others. */
inline synchronize_rcu()
{
	d_step {
		waited_for[0] = reads[0];
		waited_for[1] = reads[1];
		waited_for[2] = reads[2];
		waited_for[3] = reads[3];
		waited_for[4] = reads[4];
		waited_for[5] = reads[5];
	}
	!waited_for[0] && !waited_for[1] && !waited_for[2] &&
	!waited_for[3] && !waited_for[4] && !waited_for[5]
}

/* ---- Allocation ---- */

/*
 * mown_track(): mown_insert() -> mown_enter(), or mown_track_kmalloc(). An object of
 * an owner that is dying goes untracked. What a tree has at the address is stale:
 * nobody has missed a free here, so there must not be such a record.
 */
inline track(me, who, o, r)
{
	record_new(r, o, who);
	atomic {
		!stripe ->
		rcu_lock(me);
		if
		:: dying[who] -> skip
		:: else ->
			assert(tree[0] == NONE && tree[1] == NONE);
			tree[who] = r;
			rec[r].linked = true;
			filter++;
			whose[o] = who;
			r = NONE
		fi
	}
	atomic {
		rcu_unlock(me);
		if
		:: r != NONE -> record_free(r)
		:: else
		fi
	}
}

/* ---- Quarantine ---- */

/*
 * mown_evict(), and mown_leave_plain(), which is the same: the caller holds the record,
 * in an RCU read-side section
 */
inline evict(r, o, ours)
{
#ifdef BREAK_ERASE
	/* Given back before the record is unlinked */
	to_allocator(o);
#endif
#ifdef BREAK_LOCK
	ours = rec[r].state != GONE;
	if
	:: ours -> atomic { erase(r); decide(o) }
	:: else
	fi;
#else
	atomic {
		!stripe ->
#ifdef BREAK_RECHECK
		ours = true;
		if
		:: rec[r].linked -> erase(r)
		:: else
		fi;
		decide(o)
#else
		ours = rec[r].state != GONE;
		if
		:: ours ->
			erase(r);
#ifndef BREAK_ERASE
			decide(o)
#endif
		:: else
		fi
#endif
	}
#endif
#ifndef BREAK_ERASE
	if
	:: ours -> to_allocator(o)
	:: else
	fi;
#endif
	record_free(r)
}

/* mown_quarantine_get(): the holder's from here on */
inline ring_get(who, r, o)
{
	atomic {
		r = ring[who];
		if
		:: r != NONE ->
			o = rec[r].obj;
			ring_take(r)
		:: else
		fi
	}
}

/* mown_quarantine_push(), under the stripe's lock; PUT is whether there was room */
inline push(who, r, put)
{
	if
	:: ring[who] == NONE ->
		assert(!ring_gone[who]);
		ring[who] = r;
		rec[r].freed = RING;
		rec[r].state = QUARANTINED;
		put = true
	:: else -> put = false
	fi
}

/* ---- Release ---- */

#ifdef BREAK_REFUSE
#define REFUSED(r) false
#else
#define REFUSED(r) (rec[r].state != LIVE)
#endif

/*
 * mown_release() -> mown_hold(), mown_let_go(); mown_release_kmalloc() is the same
 * without the drop of the lock. PASS is whether the caller is to give the object to
 * the kernel, for there is no record of it: mown_not_live().
 */
inline release(me, o, r, keep, pass)
{
	pass = false;
#ifdef BREAK_HOLD
	/* What is known of it is of before the lock */
	atomic { rcu_lock(me); find(r) };
	lock();
#else
	atomic { !stripe -> stripe = true; rcu_lock(me); find(r) };
#endif
	if
	:: r == NONE ->
		pass = true;
		atomic { unlock(); rcu_unlock(me) }
	:: r != NONE && (rec[r].obj != o || decided[o]) ->
		/* A pointer to what others have now: see SECOND below */
		atomic { unlock(); rcu_unlock(me) }
	:: r != NONE && rec[r].obj == o && !decided[o] && REFUSED(r) ->
		/* Refused */
		atomic { unlock(); rcu_unlock(me) }
	:: else ->
		/* mown_claim() */
#ifndef BREAK_REFUSE
		assert(!claimed[o]);
#endif
		claimed[o] = true;
		/* mown_keeps(): else the object is not to wait */
		keep = false;
		if
		:: !dying[rec[r].owner] -> keep = true
		:: skip
		fi;
		if
		:: keep ->
			atomic {
				rec[r].freed = NOWHERE;
				rec[r].state = QUARANTINED
			};
			/* mown_prepare(), which may drop the lock */
			if
			:: unlock();
			   lock();
#ifndef BREAK_PREPARE
			   if
			   :: rec[r].state == GONE -> keep = false
			   :: else
			   fi
#endif
			:: skip
			fi;
			if
			:: keep -> atomic { push(rec[r].owner, r, keep) }
			:: else
			fi
		:: else
		fi;
		if
		:: keep ->
			atomic { unlock(); rcu_unlock(me) }
		:: !keep && rec[r].state == GONE ->
			atomic { unlock(); record_free(r); rcu_unlock(me) }
		:: else ->
			atomic { erase(r); decide(o); unlock() };
			/* The caller's kfree(); its probe looks in vain */
			atomic { to_allocator(o); record_free(r); rcu_unlock(me) }
		fi
	fi
}

/*
 * mown_release_rcu(): into a batch. Without a slot the object's own head takes its
 * place, and the rest is alike; that is left out.
 */
inline release_rcu(me, o, r, keep, pass)
{
	pass = false;
	keep = false;
	atomic {
		!stripe ->
		rcu_lock(me);
		find(r);
		if
		:: r == NONE -> pass = true
		:: r != NONE && (rec[r].obj != o || decided[o] ||
				 rec[r].state != LIVE) -> skip
		:: else ->
			assert(!claimed[o]);
			claimed[o] = true;
			if
			:: dying[rec[r].owner] || batch != NONE ->
				/* The caller's: the kernel's kfree_rcu() */
				keep = true;
				erase(r);
				decide(o)
			:: else ->
				batch = r;
				rec[r].freed = BATCH;
				rec[r].state = RCU
			fi
		fi
	}
	rcu_unlock(me);
	if
	:: keep ->
		record_free(r);
		to_allocator(o)
	:: else
	fi
}

/* ---- Frees that do not come through mown ---- */

/*
 * Does such a free come too late to be mown's matter? What comes after mown's decision,
 * or after another such free, is a double free that mown neither causes nor can
 * prevent: here nothing comes of it.
 */
#define TOO_LATE(o) (!used || there != o || decided[o])

/*
 * Begin such a free, the first of its object if LATE is not set: without a look if the
 * filter says that there is no record (mown_maybe_recorded()), which is not under the
 * lock; else the lock is had after this, and MUST_LOOK is set.
 */
inline elsewhere(o, late, must_look)
{
	d_step {
		late = foreign[o] || TOO_LATE(o);
		foreign[o] = true
	}
	d_step {
		late = late || TOO_LATE(o);
		must_look = !late && filter;
		begun[o] = begun[o] || (!late && !filter)
	}
}

/* __mown_observe_free(): the record goes with the object */
inline observe_free(me, o, r, mine, late)
{
	mine = false;
	atomic {
		!stripe ->
		rcu_lock(me);
		find(r);
		late = TOO_LATE(o);
		if
		:: r != NONE && !late ->
			assert(rec[r].obj == o);
			forget(r, mine)
		:: else
		fi;
		begun[o] = begun[o] || !late
	}
	atomic {
		if
		:: mine -> record_free(r)
		:: else
		fi;
		rcu_unlock(me)
	}
}

/* kfree() by the kernel or by who is not under mown: the probe, and then the free. */
inline kernel_kfree(me, o, r, mine, late)
{
	elsewhere(o, late, mine);
	if
	:: mine -> observe_free(me, o, r, mine, late)
	:: else
	fi;
	if
	:: !late -> to_allocator(o)
	:: else
	fi
}

/*
 * kfree_rcu() by the same: mown_observe_rcu(), and the free a grace period later,
 * which is seen again (mown_see_free_bulk())
 */
inline kernel_kfree_rcu(me, o, r, mine, late)
{
	elsewhere(o, late, mine);
	if
	:: mine ->
		atomic {
			!stripe ->
			rcu_lock(me);
			find(r);
			late = TOO_LATE(o);
			mine = false;
			if
			:: late || r == NONE -> skip
			:: !late && r != NONE && rec[r].state == LIVE ->
				assert(rec[r].obj == o);
				rec[r].state = ELSEWHERE
			:: else ->
				assert(rec[r].obj == o);
#ifndef BREAK_TWO_LOCKS
				forget(r, mine)
#endif
			fi;
			begun[o] = begun[o] || !late
		}
		atomic {
			if
			:: mine -> record_free(r)
			:: else
			fi;
			rcu_unlock(me)
		}
	:: else
	fi;
	if
	:: !late ->
		observe_free(me, o, r, mine, late);
		to_allocator(o)
	:: else
	fi
}

/* ---- Who does what ---- */

byte handed = NONE;	/* the object that the kernel was given to free */
byte victim = NONE;	/* the object that is freed twice */
byte over;		/* modules that have run their last code */

/*
 * A module's program: allocate, and free once, in one of the ways, or leave it. An
 * object without a record is the kernel's to free: untracked, or forgotten by detach.
 */
inline program(me, who, o, r, keep, pass, late)
{
	atomic {
		(!used && made < OBJECTS) ->
		used = true;
		there = made;
		o = made;
		made++
	};
	pass = true;
	if
	:: who == 1 || redirected -> track(me, who, o, r)
	:: else
	fi;
#ifdef SECOND
	if
	:: o == 0 -> victim = o
	:: else
	fi;
#endif
	if
	:: who == 0 && !redirected -> kernel_kfree(me, o, r, keep, late)
	:: else ->
		if
		:: release(me, o, r, keep, pass);
		   if
		   :: pass -> kernel_kfree(me, o, r, keep, late)
		   :: else
		   fi
		:: release_rcu(me, o, r, keep, pass);
		   if
		   :: pass -> kernel_kfree(me, o, r, keep, late)
		   :: else
		   fi
		:: handed == NONE -> handed = o
		:: skip
		fi
	fi;
	/* What is not used any more makes no states */
	atomic { o = 0; r = 0; keep = false; pass = false; late = false }
}

active proctype Module0()
{
	byte o, r; bool keep, pass, late;

again:	if
	:: program(0, 0, o, r, keep, pass, late);
	   goto again
	:: skip
	fi;
	over++
}

active proctype Module1()
{
	byte o, r; bool keep, pass, late;

again:	if
	:: program(1, 1, o, r, keep, pass, late);
	   goto again
	:: skip
	fi;
end:	skip
}

/* The kernel frees what it was given: at once, or after a grace period of its own. */
active proctype Kernel()
{
	byte o, r; bool mine, late;

end:	handed != NONE;
	o = handed;
	if
	:: kernel_kfree(2, o, r, mine, late)
	:: kernel_kfree_rcu(2, o, r, mine, late)
	fi;
	atomic { o = 0; r = 0; mine = false; late = false }
}

/* mown_shrink_scan(), mown_quarantine_trim(): whoever has objects leave, of any owner */
active proctype Evictor()
{
	byte who, r, o; bool ours;

end:	do
	:: ring[0] != NONE || ring[1] != NONE ->
		rcu_lock(3);
		if
		:: listed[0] && ring[0] != NONE -> who = 0
		:: listed[1] && ring[1] != NONE -> who = 1
		:: else -> who = NONE
		fi;
		if
		:: who != NONE ->
			ring_get(who, r, o);
			if
			:: r != NONE -> evict(r, o, ours)
			:: else
			fi
		:: else
		fi;
		atomic { rcu_unlock(3); r = 0; o = 0; ours = false; who = 0 }
	od
}

/* mown_rcu_batch_func() -> mown_release_waited() */
active proctype Batch()
{
	byte r, o; bool keep, give;

end:	do
	:: batch != NONE ->
		atomic {
			!stripe -> stripe = true;
			rcu_lock(4);
			r = batch;
			o = rec[r].obj
		}
		if
#ifdef BREAK_WAITED
		:: true ->
#else
		:: rec[r].state != GONE ->
#endif
			if
			:: !dying[rec[r].owner] -> keep = true
			:: skip
			fi;
			if
			:: keep ->
				/* mown_prepare() */
				if
				:: unlock();
				   lock();
				   if
				   :: rec[r].state == GONE -> keep = false
				   :: else
				   fi
				:: skip
				fi
			:: else
			fi;
			if
			:: keep -> atomic { push(rec[r].owner, r, keep) }
			:: else
			fi;
			give = !keep && rec[r].state != GONE
		:: rec[r].state == GONE
		fi;
		atomic {
			if
			:: give -> erase(r); decide(o)
			:: else
			fi;
			unlock()
		}
		atomic {
			if
			:: give -> to_allocator(o)
			:: else
			fi;
			if
			:: !keep -> record_free(r)
			:: else
			fi;
			rcu_unlock(4);
			batch = NONE;
			r = 0; o = 0; keep = false; give = false
		}
	od
}

#ifdef SECOND
/*
 * The bug: somebody frees an object that another frees, too, before or after that. A
 * pointer to what others have by now, or to what has left mown, is outside of what is
 * claimed: nothing comes of it here.
 */
active proctype Second()
{
	byte o, r; bool keep, pass, late;

end:	victim != NONE;
	o = victim;
	if
	:: release(5, o, r, keep, pass)
	:: release_rcu(5, o, r, keep, pass)
	:: kernel_kfree(5, o, r, keep, late)
	:: kernel_kfree_rcu(5, o, r, keep, late)
	fi;
	atomic { o = 0; r = 0; keep = false; pass = false; late = false }
}
#endif

/* mown_settle() or mown_drop() of owner 0 */
active proctype Ender()
{
	byte r, o; bool ours, orphan;

#ifdef SETTLE
	/* After the module's exit function, and what it has waited for */
	over == 1;
#else
	/* mown_module_detach() -> mown_hooks_remove() */
	redirected = false;
#endif
	/* mown_end() -> mown_owner_stop() */
	dying[0] = true;
#ifndef BREAK_STOP
	synchronize_rcu();
#endif
	/* mown_rcu_flush() */
#ifndef BREAK_FLUSH
	batch == NONE;
#endif
	/* mown_quarantine_trim(owner, 0); mown_quarantine_free() */
	do
	:: ring[0] != NONE ->
		ring_get(0, r, o);
		if
		:: r != NONE -> evict(r, o, ours)
		:: else
		fi
	:: else -> break
	od;
	ring_gone[0] = true;
#ifndef BREAK_ON_THE_WAY
	/* What is on its way out */
	synchronize_rcu();
#endif
	orphan = false;
#ifdef SETTLE
	/* mown_settle_all() -> mown_settle_next() */
	ours = false;
	atomic {
		!stripe ->
		r = tree[0];
		if
		:: r != NONE && rec[r].state == LIVE ->
			if
			/* Reclaimed, where the author has promised: else an orphan */
			:: handed != rec[r].obj && victim != rec[r].obj ->
				o = rec[r].obj;
				claimed[o] = true;
				forget(r, ours);
				decide(o)
			:: orphan = true
			fi
		:: else
		fi
	};
	if
	:: ours ->
		to_allocator(o);
		record_free(r)
	:: else
	fi;
	/* Until all orphans are freed, mown_exits_sweep(), or its account is dropped */
	if
	:: orphan && tree[0] == NONE
	:: skip
	fi;
#endif
	/* mown_exit_remove_owner() -> mown_exit_forget() */
	ours = false;
	atomic {
		!stripe ->
		r = tree[0];
		if
		:: r != NONE && (rec[r].state == LIVE ||
				 rec[r].state == ELSEWHERE) -> forget(r, ours)
		:: else
		fi
	};
	if
	:: ours -> record_free(r)
	:: else
	fi;
	/* mown_owner_remove(); mown_owner_removed() comes after a grace period */
	listed[0] = false;
	synchronize_rcu();
	/* Claim 4: no record outlives its owner */
	assert(tree[0] == NONE);
	assert(ring[0] == NONE);
	owner_gone[0] = true
}

/*
 * Claim 3, looked at whenever nobody has the lock: an object that is recorded, and
 * that nobody has begun to free, has its record in its owner's tree, unless that owner
 * was ended; and a record in a tree is of an object that the kernel has not got back.
 */
#define HAS_RECORD(o)							\
	(tree[whose[o]] != NONE && rec[tree[whose[o]]].obj == o)
#define LOST(o)								\
	(!stripe && whose[o] != NONE && !begun[o] && !claimed[o] &&	\
	 !dying[whose[o]] && !HAS_RECORD(o))
#define FALSE_RECORD(t)							\
	(!stripe && tree[t] != NONE && returned[rec[tree[t]].obj])

/* When nothing goes on any more: a record that nobody leads to, an object that is owed */
#define LEAKED(r)	(rec[r].taken && !rec[r].linked)
#define OWED(o)		((claimed[o] || foreign[o]) && !returned[o])

active proctype Claims()
{
end:	if
	:: LOST(0) || LOST(1) || FALSE_RECORD(0) || FALSE_RECORD(1) -> assert(false)
	:: timeout ->
		assert(!LEAKED(0) && !LEAKED(1) && !LEAKED(2));
		assert(!OWED(0) && !OWED(1))
	fi
}
